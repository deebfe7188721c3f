"""Mixing: what share each kind of member gets, from scores of rows that its members never saw."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from fallline.losses.links import LINKS as LINKS_BY_NAME
from fallline.losses.loss import Loss
from fallline.nn.ensemble import LINKS, Mixture

PARTS = 6  # into which the whole is cut: shares that are tried are so many sixths
DRAWS = 100  # samples of the rows with replacement
MOST_ROWS = 5000  # that decide
CLEARLY = 2.0  # standard errors
TOGETHER = 200_000  # rows that go through a loss at once
TINY = 1e-15  # probabilities keep so far from 0 and 1
LEAST = 0.02  # a smaller share is dropped


def link_of(loss: Loss) -> str:
    """What the mean of several members is taken of."""
    return loss.link if loss.link in LINKS else "identity"


def mixed(scores: np.ndarray, shares: np.ndarray, link: str) -> np.ndarray:
    """The scores of the mixture.   scores (n, kinds, …) float64"""
    return np.asarray(Mixture(link, shares=np.asarray(shares, scores.dtype))(scores))


def shares_of(scores: np.ndarray, y: np.ndarray, w: np.ndarray, loss: Loss, seed: int = 0) -> np.ndarray:
    """(kinds,) shares that sum to 1: half of them the mean of those that are best on each of many samples of the rows,
    half of them equal for all kinds that are not clearly worse than the best one.

    Few rows cannot tell good kinds apart, and equal shares of such are hard to beat; a kind that is clearly worse (the
    mean difference beyond two standard errors) gets what the samples give it alone.
    scores  (n, kinds, …) of rows that the members never saw
    source  Breiman 1996, "Stacked regressions"; Clemen 1989, "Combining forecasts" (equal shares)
    """
    rng, n, kinds = np.random.default_rng(seed), len(y), scores.shape[1]
    if n > MOST_ROWS:
        rows = np.sort(rng.permutation(n)[:MOST_ROWS])
        scores, y, w, n = scores[rows], y[rows], w[rows], MOST_ROWS
    tried = compositions(kinds)
    losses = _losses(scores, y, tried, loss)
    counts = rng.multinomial(n, np.full(n, 1.0 / n), size=DRAWS) * w  # (draws, n)
    shares = tried[np.argmin(counts @ losses.T, axis=1)].mean(axis=0)
    like = as_good_as_the_best(losses[[np.flatnonzero(tried[:, k] == 1.0)[0] for k in range(kinds)]], w)
    shares = (shares + like / like.sum()) / 2
    shares[shares < LEAST] = 0.0
    return shares / shares.sum()


def as_good_as_the_best(losses: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(kinds,) whether each is the best or within two standard errors of it.   losses (kinds, n)"""
    means = np.average(losses, axis=1, weights=w)
    behind = losses - losses[np.argmin(means)]
    mean = np.average(behind, axis=1, weights=w)
    error = np.sqrt(np.average((behind - mean[:, None]) ** 2, axis=1, weights=w) / len(w))
    return mean <= CLEARLY * error


def _losses(scores: np.ndarray, y: np.ndarray, tried: np.ndarray, loss: Loss) -> np.ndarray:
    """(m, n) the loss of each row under each of m shares; many at once: a call costs more than few rows."""
    link, n = link_of(loss), len(y)
    linked = np.asarray(LINKS_BY_NAME[link](scores))
    if link != "identity":
        linked = np.clip(linked, TINY, 1.0 - TINY if link == "sigmoid" else None)
    together, found = max(1, TOGETHER // n), []
    for first in range(0, len(tried), together):
        some = tried[first : first + together]
        mix = np.tensordot(some, linked, axes=(1, 1)).reshape(len(some) * n, *scores.shape[2:])
        if link != "identity":
            mix = np.log(mix) - np.log1p(-mix) if link == "sigmoid" else np.log(mix)
        targets = np.tile(y, (len(some), *(1,) * (y.ndim - 1)))
        found.append(np.asarray(loss(mix, targets), dtype=np.float64).reshape(len(some), n))
    return np.concatenate(found)


def compositions(kinds: int) -> np.ndarray:
    """(m, kinds) all shares that are whole parts of the whole."""
    places = combinations(range(PARTS + kinds - 1), kinds - 1)
    bars = np.array([(-1, *chosen, PARTS + kinds - 1) for chosen in places])
    return (np.diff(bars, axis=1) - 1) / PARTS


def mean_loss(scores: np.ndarray, y: np.ndarray, w: np.ndarray, loss: Loss) -> float:
    """Σ w L / Σ w."""
    return float(np.average(np.asarray(loss(scores, y), dtype=np.float64), weights=w))


def spread(shares: Sequence[float], members: Sequence[int]) -> list[Any]:
    """The share of each member: that of its kind, divided among the kind's members."""
    return [share / n for share, n in zip(shares, members, strict=True) for _ in range(n)]


__all__ = ["as_good_as_the_best", "link_of", "mean_loss", "mixed", "shares_of", "spread"]
