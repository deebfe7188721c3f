"""torch_fit.py TABLE EPOCHS: a network of 32 and 16 hidden units on x and y of an .npz file, by PyTorch."""

import json
import os
import sys

import numpy as np
import torch
from torch import nn

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
with np.load(sys.argv[1]) as table:
    x, y = torch.from_numpy(table["x"]), torch.from_numpy(table["y"]).float()
network = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
for _ in range(int(sys.argv[2])):
    for rows in torch.randperm(len(x)).split(32):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(x[rows])[:, 0], y[rows]).backward()
        optimizer.step()
with torch.no_grad():
    print(json.dumps({"accuracy": ((network(x)[:, 0] > 0) == (y > 0)).float().mean().item()}))
