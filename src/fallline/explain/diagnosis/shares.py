"""Shares: which part of the norm of a network's first weights each input holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.listing import Listing
from fallline.core.tree import leaves
from fallline.explain.diagnosis.subject import Subject, subject_of

DOMINATES = 0.9  # of the norm
FEWEST_INPUTS = 3  # of two, one may well do most of the work
DIGITS = 4


def weight_shares(model: Any, X: Any = None) -> Listing:
    """‖W_j‖ / ‖W‖ of each input j, W (n_in, units) the first weights: 1 where the network goes by one input alone.

    model  what fl.fit returns, a model, or a filled network whose first weights read a row of numbers
    X      rows; with them W_j counts times the spread of input j, so that its unit does not matter
    An input with more than 90 % of the norm is marked: the network then goes by this one, and an L2 penalty, which
    charges for the square of each weight, takes it back first.
    """
    subject = subject_of(model, X, asked_by="weight_shares")
    shares = input_shares(subject)
    if not shares:
        raise ConfigError("weight_shares needs a network whose first weights read a row of numbers")
    marks = ["dominates" if share > DOMINATES else "" for share in shares.values()]
    columns: dict[str, list[Any]] = {"input": list(shares), "share of the norm": list(shares.values()), "marked": marks}
    note = (
        f"share: ‖W_j‖ / ‖W‖ of the first weights; the squares of the shares add up to 1. Marked above {DOMINATES:.0%}."
    )
    return Listing("Weights by input", columns, [""] * len(shares), note, digits=DIGITS)


def input_shares(subject: Subject) -> dict[str, float]:
    """By the name of the input; empty where the first weights do not read one row of numbers."""
    W = next((leaf for leaf in leaves(subject.network, "param").values()), np.zeros(0))
    x = subject.x
    if W.ndim != 2 or (x is not None and getattr(x, "shape", ())[1:] != W.shape[:1]):
        return {}
    names = subject.names if subject.fitted is None else subject.fitted.feature_names
    if len(names) != len(W):
        names = tuple(f"column {j}" for j in range(len(W)))
    norms = np.sqrt((W.astype(np.float64) ** 2).sum(axis=1))
    if x is not None:
        norms = norms * x.astype(np.float64).std(axis=0)
    whole = float(np.sqrt((norms**2).sum()))
    return dict(zip(names, (norms / whole).tolist(), strict=True)) if whole > 0 else {}


__all__ = ["DOMINATES", "FEWEST_INPUTS", "input_shares", "weight_shares"]
