"""Piecewise linear encoding: a number as how far it reaches into each of several bins."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.record import Array, buffer, record, setting
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops.composite import clip
from fallline.ops.linalg import matmul
from fallline.ops.shape import concatenate

FEWEST = 3  # values of a column that is encoded: of two values, the number itself says everything


@record
class PiecewiseEncoding(Layer):
    """y = [x, clip(x A + c, 0, 1)]: for a bin from e_t to e_{t+1} of a column, the share of it that lies below x.

    A linear function of y is a continuous function of each column, linear between the edges e.
    x (batch, n) -> y (batch, n + all bins)
    bins    of a column whose edges are not known: between -2 and 2, for standardised inputs; `of_rows` takes quantiles
    A, c    1 / width and -start / width of each bin, in the row of its column
    source  Gorishniy et al. 2022 (arXiv:2203.05556), section 3.2
    """

    bins: int = setting(8, at_least=1)
    A: Array = buffer()  # (n, all bins)
    c: Array = buffer()  # (all bins,)

    def build(self, x: Any, rng: np.random.Generator) -> PiecewiseEncoding:
        edges = np.linspace(-2.0, 2.0, self.bins + 1)
        return self._with_edges([edges] * x.shape[-1], param_dtype(x))

    @classmethod
    def of_rows(cls, X: Any, bins: int = 8, further: int = 0) -> PiecewiseEncoding:
        """The layer with edges at the quantiles of each column of X (n_rows, n).

        Equal quantiles make one edge, and a column of fewer than three values gets no bins.
        further  columns after those of X that pass without bins
        """
        X = np.asarray(X)
        edges = [_edges(column, bins) for column in X.T]
        return cls(bins)._with_edges([*edges, *[np.zeros(0)] * further], X.dtype)

    def _with_edges(self, edges: list[np.ndarray], dtype: Any) -> PiecewiseEncoding:
        widths = [np.diff(e) for e in edges]
        A, c, at = np.zeros((len(edges), sum(map(len, widths)))), np.zeros(sum(map(len, widths))), 0
        for row, (e, width) in enumerate(zip(edges, widths, strict=True)):
            here = slice(at, at + len(width))
            A[row, here], c[here], at = 1.0 / width, -e[:-1] / width, at + len(width)
        return self.replace(A=A.astype(dtype), c=c.astype(dtype))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        if not self.A.shape[1]:
            return x
        return concatenate([x, clip(matmul(x, self.A) + self.c, 0.0, 1.0)], axis=-1)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(bins=3), rng.uniform(-1.9, 1.9, size=(4, 2))


def _edges(column: np.ndarray, bins: int) -> np.ndarray:
    """Quantiles of the rows and of the different values, each once; of a column with few values its values.

    Where most rows hold one value, as 0, those of the rows would leave the others in one bin.
    """
    values = np.unique(column)
    if len(values) < FEWEST:
        return np.zeros(0)
    if len(values) <= bins + 1:
        return values.astype(np.float64)
    levels = np.linspace(0.0, 1.0, bins + 1)
    edges = np.unique(np.quantile(column.astype(np.float64), levels))
    more = np.quantile(values.astype(np.float64), levels)
    return edges if len(edges) > bins // 2 + 1 else np.unique(np.concatenate([edges, more]))


__all__ = ["PiecewiseEncoding"]
