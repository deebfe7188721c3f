"""The base of all losses: one number per example, the link that belongs to it, and the targets that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fallline.core.errors import ConfigError, DataError, ShapeError
from fallline.core.facts import FactRows, facts_of
from fallline.core.record import Record, records_of
from fallline.graph.op import as_operand
from fallline.graph.value import Value
from fallline.losses.links import LINKS
from fallline.ops.arithmetic import astype
from fallline.ops.compare import less
from fallline.ops.composite import mean
from fallline.ops.reduce import argmax

Shape = tuple[int, ...]


class Loss(Record):
    """loss(score, target): one number per example.

    score, target  (batch,), or (batch, k) for k outputs, over which the loss is the mean; arrays or Values
    returns        (batch,): weighting and averaging over the batch happen in the training step
    raises         ShapeError when the shapes differ (nothing is broadcast), DataError for targets that the loss
                   does not take, where the target is an array and not yet a Value

    A subclass writes `formula`, and where they differ from here `link` (or `predict`), `allowed` and `takes`,
    `n_scores`, `target_shape`; `sample` and `draw` where the contract tests need other inputs. Its docstring holds the
    facts that `losses()` lists, and that tests compare with what it computes where no setting is given; s is the
    score, t the target:

        formula, derivative  of s and t, the derivative with respect to s
        special, slopes      values of the loss and of that derivative, "s | t -> value, …"
        stable               what is computed instead, where the formula would overflow or lose digits
        likelihood           the distribution of the target whose negative log-likelihood it is
        source               where it comes from
    """

    task: ClassVar[str] = "regression"  # or "classification"
    target_dtype: ClassVar[str] = "float"  # that of the score; "int32": class codes
    probabilistic: ClassVar[bool] = False  # `predict` gives probabilities of classes
    link: ClassVar[str] = "identity"  # what `predict` makes of a score, a name in LINKS
    takes: ClassVar[str] = "a finite number"  # one target, in the words of the error message
    finite_to: ClassVar[float] = 1000.0  # float32 scores up to this size have a finite loss and gradient

    formula: ClassVar[Callable[..., Any]]  # (self, score, target) -> one number per entry, both of the score's dtype

    def __call__(self, score: Any, target: Any) -> Any:
        if not isinstance(target, Value):
            self.check_target(target)
            target = np.asarray(target)
        score = _floats(score)
        self.check_shapes(tuple(score.shape), tuple(target.shape))
        dtype = score.dtype if self.target_dtype == "float" else self.target_dtype
        each = self.formula(score, astype(target, dtype))
        return mean(each, axis=tuple(range(1, each.ndim))) if each.ndim > 1 else each

    def predict(self, score: Any) -> Any:
        """The link: the prediction, in the target's unit or as a probability, that belongs to a score."""
        return LINKS[self.link](score)

    def decide(self, score: Any) -> Any:
        """The class codes of scores: the largest of k scores, or 1 where a single score is above 0; int32."""
        if self.task != "classification":
            raise ConfigError(f"{type(self).__name__} is for regression: its scores stand for numbers, use predict")
        score = _floats(score)
        codes = argmax(score, axis=-1) if self.target_dtype == "int32" else less(0.0, score)
        return astype(codes, "int32")

    def n_scores(self, n_classes: int, n_outputs: int) -> int:
        """How many scores a row needs.   n_classes: of the target, 0 for regression; n_outputs: its columns"""
        return n_outputs

    def target_shape(self, score: Shape) -> Shape:
        """The shape of the target that belongs to scores of a shape."""
        return score

    def check_shapes(self, score: Shape, target: Shape) -> None:
        """ShapeError unless score and target belong together."""
        wanted = self.target_shape(score)
        if target != wanted:
            name = type(self).__name__
            raise ShapeError(
                f"{name}: score {score} and target {target} do not fit: nothing is broadcast, "
                f"give a target of shape {wanted}"
            )

    def allowed(self, y: np.ndarray) -> np.ndarray:
        """True for each target that the loss takes; y is finite."""
        return np.ones(y.shape, bool)

    def check_target(self, y: Any) -> None:
        """DataError when a target lies outside what the loss takes; the message names the first one."""
        y = np.asarray(y)
        name = type(self).__name__
        if y.dtype.kind not in "biuf":
            raise DataError(f"{name}: targets are {y.dtype}, not numbers: encode them first (classes as 0, 1, 2 …)")
        good = np.isfinite(y)
        good &= self.allowed(np.where(good, y, 0))
        if not np.all(good):
            at = np.unravel_index(np.argmin(good), y.shape)
            place = f" in row {at[0]}" if at else ""
            raise DataError(
                f"{name}: the target {y[at]:g}{place} is not {self.takes}: "
                "are score and target swapped? The order is (score, target)"
            )

    @classmethod
    def sample(cls) -> Loss:
        """The instance on which the contract tests run."""
        return cls()

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and targets for the contract tests, float64, away from kinks."""
        return rng.normal(size=rows), rng.normal(size=rows)


def _floats(score: Any) -> Any:
    """The score as an array (or Value) of floats; whole numbers become float64."""
    score = as_operand(score)
    return score if score.dtype.kind == "f" else astype(score, "float64")


class LossRow(NamedTuple):
    """What a loss and its docstring say; special and slopes are values of it and its derivative, "s | t -> value"."""

    name: str
    formula: str
    link: str
    derivative: str
    targets: str
    likelihood: str
    special: str
    slopes: str
    stable: str
    source: str


def losses() -> FactRows[LossRow]:
    """All losses by name, a list of rows that prints as a table; `.frame()` is a data frame of all columns."""
    rows = []
    for name, cls in records_of(Loss).items():
        own = cls.predict is not Loss.predict
        facts = {**facts_of(cls), "name": name, "link": "its own" if own else cls.link, "targets": cls.takes}
        rows.append(LossRow(*(facts.get(word, "") for word in LossRow._fields)))
    note = "s is the score, t the target. fl.plot_function(name) draws one with its derivative, fl.links() lists links."
    return FactRows("Losses", rows, ("name", "formula", "link", "derivative"), note)


__all__ = ["Loss", "LossRow", "losses"]
