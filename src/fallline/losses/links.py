"""Links: what a score means. Each makes a prediction of a score s, and belongs to a distribution of the target.

Each docstring holds the facts that `links()` lists, and that tests compare with what the function computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fallline.core.facts import FactRows, facts_of
from fallline.ops import composite, transcendental


def identity(score: Any) -> Any:
    """s

    inverse     y
    derivative  1
    special     -1000 -> -1000, 0 -> 0, 1000 -> 1000
    slopes      0 -> 1
    stable      the formula itself
    belongs     normal distribution: the score is the mean
    source      Nelder & Wedderburn 1972, "Generalized linear models"
    """
    return score


def sigmoid(score: Any) -> Any:
    """σ(s) = 1 / (1 + e^-s)

    inverse     log(y / (1 - y))
    derivative  σ(s) (1 - σ(s))
    special     0 -> 1/2, -1000 -> 0, 1000 -> 1, 9 -> 0.9998766054
    slopes      0 -> 1/4, -1000 -> 0, 1000 -> 0
    stable      1 / (1 + e^-s); e^1000 is ∞, and 1/∞ the right 0. A loss never takes its logarithm: it uses the score
    belongs     Bernoulli distribution: the score is the log odds of class 1
    source      Berkson 1944, "Application of the logistic function to bio-assay"
    """
    return transcendental.sigmoid(score)


def softmax(score: Any) -> Any:
    """p_k = e^(s_k) / Σ_j e^(s_j)

    inverse     log p_k, up to a constant that all scores share
    derivative  dp_i/ds_k = p_i ((i = k) - p_k)
    special     (0, 0) -> (1/2, 1/2), (1000, 0) -> (1, 0), (1, 2, 3) -> (0.0900305732, 0.2447284711, 0.6652409558)
    slopes      (0, 0) -> (1/4, -1/4), (1000, 0) -> (0, 0); those of p_1
    stable      e^(s_k - max s) / Σ_j e^(s_j - max s)
    belongs     categorical (multinoulli) distribution: the scores are log probabilities up to a constant
    source      Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs"
    """
    return composite.softmax(score)


def exponential(score: Any) -> Any:
    """e^s

    inverse     log(y)
    derivative  e^s
    special     0 -> 1, 1 -> 2.7182818285, -1000 -> 0
    slopes      0 -> 1, -1000 -> 0
    stable      the formula itself; e^710 is ∞ (e^89 in float32)
    belongs     Poisson distribution: the score is the logarithm of the mean
    source      Nelder & Wedderburn 1972, "Generalized linear models"
    """
    return transcendental.exp(score)


LINKS: dict[str, Callable[[Any], Any]] = {
    "identity": identity,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "exp": exponential,
}


class LinkRow(NamedTuple):
    """What the docstring of a link says; special and slopes are values of it and of its derivative: "s -> value, …"."""

    name: str
    formula: str
    inverse: str
    derivative: str
    special: str
    slopes: str
    stable: str
    belongs: str
    source: str


def links() -> FactRows[LinkRow]:
    """All links, a list of rows that prints as a table; `.frame()` is a data frame of all columns."""
    told = {name: facts_of(link) for name, link in LINKS.items()}
    rows = [LinkRow(name, *(facts.get(word, "") for word in LinkRow._fields[1:])) for name, facts in told.items()]
    return FactRows("Links, from a score s to a prediction y", rows, ("name", "formula", "derivative", "belongs"))


__all__ = ["LINKS", "LinkRow", "exponential", "identity", "links", "sigmoid", "softmax"]
