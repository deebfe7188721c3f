"""fallline_fit.py TABLE EPOCHS: a network of 32 and 16 hidden units on x and y of an .npz file, by Fallline."""

import json
import sys

import numpy as np

import fallline as fl

with np.load(sys.argv[1]) as table:
    x, y = table["x"], table["y"]
network = fl.Sequential(fl.Dense(32), fl.ReLU(), fl.Dense(16), fl.ReLU(), fl.Dense(1))
fit = fl.fit(network, (x, y), epochs=int(sys.argv[2]), batch_size=32)
print(json.dumps({"accuracy": float((fit.model.predict(x) == y).mean())}))
