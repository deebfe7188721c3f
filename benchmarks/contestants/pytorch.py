"""PyTorch: eager or compiled, in float32 or bfloat16."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.contestants import Contestant, Trainer
from benchmarks.workloads import LEARNING_RATE, Workload


def model_of(workload: Workload) -> nn.Sequential:
    """The network with the workload's starting weights."""
    layers: list[nn.Module] = []
    weights = workload.weights()
    for k, (W, b) in enumerate(weights):
        dense = nn.Linear(*W.shape)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(W.T))
            dense.bias.copy_(torch.from_numpy(b))
        layers.append(dense)
        if k == len(weights) - 1:
            break
        layers.append(nn.ReLU() if workload.activation == "relu" else nn.Tanh())
        layers += [nn.BatchNorm1d(W.shape[1])] if workload.norm else []
        layers += [nn.Dropout(workload.dropout)] if workload.dropout else []
    return nn.Sequential(*layers)


class Training:
    """A model with its optimizer and its table."""

    def __init__(self, workload: Workload, variant: str):
        self.workload = workload
        x, y = workload.data()
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        if workload.outputs > 1:
            self.y = self.y.long()
        self.model = model_of(workload)
        if variant == "torch-bf16":
            self.model, self.x = self.model.bfloat16(), self.x.bfloat16()
        self.cast = torch.autocast("cpu", torch.bfloat16) if variant == "torch-autocast" else nullcontext()
        self.optimizer = torch.optim.Adam(self.model.parameters(), LEARNING_RATE, fused=True)
        self.loss = torch.compile(self._loss) if variant == "torch.compile" else self._loss
        self.start = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def _loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        score = self.model(x)
        if self.workload.outputs == 1:
            return nn.functional.binary_cross_entropy_with_logits(score[:, 0].float(), y)
        return nn.functional.cross_entropy(score.float(), y)

    def step(self, rows: Any) -> torch.Tensor:
        self.optimizer.zero_grad()
        with self.cast:
            loss = self.loss(self.x[rows], self.y[rows])
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self) -> None:
        w = self.workload
        for _ in range(w.epochs):
            for rows in torch.randperm(w.rows)[: w.full_rows].split(w.batch):
                self.step(rows)

    def reset(self) -> None:
        self.model.load_state_dict(self.start)
        for state in self.optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()


def trainer(workload: Workload, contestant: Contestant, threads: int, engine: str) -> Trainer:
    torch.set_num_threads(threads)
    training = Training(workload, contestant.name)
    return Trainer(training.run, workload.steps, training.reset)


def losses(workload: Workload, contestant: Contestant, threads: int, engine: str, count: int) -> list[float]:
    """The losses of the first steps, rows in order, from the workload's starting weights."""
    torch.set_num_threads(threads)
    training = Training(workload, contestant.name)
    rows = torch.from_numpy(np.resize(np.arange(workload.full_rows), (count, workload.batch)))
    return [float(training.step(r)) for r in rows]
