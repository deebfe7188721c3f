"""sklearn_fit.py TABLE EPOCHS: a network of 32 and 16 hidden units on x and y of an .npz file, by scikit-learn."""

import json
import sys
import warnings

import numpy as np
from sklearn.neural_network import MLPClassifier

warnings.simplefilter("ignore")
with np.load(sys.argv[1]) as table:
    x, y = table["x"], table["y"]
epochs = int(sys.argv[2])
model = MLPClassifier((32, 16), alpha=0.0, batch_size=32, max_iter=epochs, tol=0.0, n_iter_no_change=epochs + 1)
model.fit(x, y)
print(json.dumps({"accuracy": model.score(x, y)}))
