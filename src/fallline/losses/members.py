"""The loss of several members that are trained in one program."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.record import record, setting
from fallline.losses.loss import Loss, Shape
from fallline.losses.regression import SquaredError


@record
class EachMember(Loss):
    """(s - t)²

    That is the default, one member and the squared error; of several it is the mean of their losses, Σ_k L(s_k, t) / k.
    Scores of all members side by side, as the layer `Together` gives them in training; scores of one answer count as
    `loss` alone says, so that evaluation sees the mixture.
    scores      of one member in a row
    derivative  2 (s - t)
    special     3 | 1 -> 4, 0 | 0 -> 0
    slopes      3 | 1 -> 4, 0 | 0 -> 0
    stable      the formula itself
    likelihood  normal with mean s, variance 1/2: L + log(π)/2
    source      Gorishniy et al. 2024 (arXiv:2410.24210), section 3: the mean of the losses, not the loss of the mean
    """

    loss: Loss = SquaredError()
    members: int = setting(1, at_least=1)
    scores: int = setting(1, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("task", "target_dtype", "probabilistic", "link", "takes", "finite_to"):  # those of the loss
            object.__setattr__(self, name, getattr(self.loss, name))

    def __call__(self, score: Any, target: Any) -> Any:
        shape = tuple(score.shape)
        if self.members == 1 or len(shape) < 2 or shape[1] != self.members * self.scores:
            return self.loss(score, target)
        parts = [score[:, k * self.scores : (k + 1) * self.scores] for k in range(self.members)]
        if self.scores == 1:
            parts = [part.reshape(part.shape[0]) for part in parts]
        losses = [self.loss(part, target) for part in parts]
        return sum(losses[1:], start=losses[0]) * (1.0 / self.members)

    def predict(self, score: Any) -> Any:
        return self.loss.predict(score)

    def n_scores(self, n_classes: int, n_outputs: int) -> int:
        return self.loss.n_scores(n_classes, n_outputs)

    def target_shape(self, score: Shape) -> Shape:
        return self.loss.target_shape(score)

    def allowed(self, y: np.ndarray) -> np.ndarray:
        return self.loss.allowed(y)


__all__ = ["EachMember"]
