"""Embeddings of category codes, and the layers that only change shapes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError, DataError, ShapeError
from fallline.core.record import Array, param, record, setting
from fallline.nn.initializers import Initializer, Normal, initializer
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops.index import take
from fallline.ops.shape import concatenate, reshape


@record
class Embedding(Layer):
    """y = table[x]: a learned vector for each category.   x (…) integer codes -> y (…, units)

    init    "auto" is normal with standard deviation 1 / sqrt(units): vectors of length about 1
    raises  DataError for a code outside 0 … n_categories - 1, where the codes are known (not while a program is built)
    """

    n_categories: int = setting(at_least=1)
    units: int = setting(at_least=1)
    init: str | Initializer = "auto"
    table: Array = param()  # (n_categories, units)
    takes_codes: ClassVar[bool] = True

    def validate(self) -> None:
        initializer(self.init)

    def build(self, x: Any, rng: np.random.Generator) -> Embedding:
        return self.replace(table=_table(self.n_categories, self.units, self.init, rng).astype(param_dtype(x)))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        _check_codes(x, self.n_categories, "Embedding")
        return take(self.table, x)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(n_categories=5, units=3), rng.integers(0, 5, 6).astype(np.int32)


@record
class ColumnEmbedding(Layer):
    """Numbers and categories of a table as one array: y = [numbers, tables[0][codes_0], tables[1][codes_1], …].

    x      a pair: numbers (batch, d) float, codes (batch, k) int32
    y      (batch, d + Σ units)
    cardinalities, units   per column of codes: how many categories, and how many numbers stand for one
    """

    cardinalities: tuple[int, ...]
    units: tuple[int, ...]
    init: str | Initializer = "auto"
    tables: Array = param()  # one array (cardinality, units) per column
    takes_codes: ClassVar[bool] = True

    def validate(self) -> None:
        for name in ("cardinalities", "units"):
            object.__setattr__(self, name, tuple(int(n) for n in getattr(self, name)))
        if len(self.cardinalities) != len(self.units) or min((*self.cardinalities, *self.units), default=1) < 1:
            given = f"ColumnEmbedding(cardinalities={self.cardinalities}, units={self.units})"
            raise ConfigError(f"{given}: give one number of at least 1 per column in each")
        initializer(self.init)

    def _has_own_leaves(self) -> bool:
        return self.tables is not None or not self.cardinalities

    def build(self, x: Any, rng: np.random.Generator) -> ColumnEmbedding:
        dtype = param_dtype(x[0])
        pairs = zip(self.cardinalities, self.units, strict=True)
        return self.replace(tables=tuple(_table(n, units, self.init, rng).astype(dtype) for n, units in pairs))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        numbers, codes = x
        if codes.ndim != 2 or codes.shape[1] != len(self.cardinalities):
            raise ShapeError(f"the codes have shape {codes.shape}, expected (batch, {len(self.cardinalities)})")
        parts = [numbers] if numbers.shape[1] or not self.tables else []
        for i, table in enumerate(self.tables or ()):
            column = codes[:, i]
            _check_codes(column, self.cardinalities[i], f"ColumnEmbedding, column {i}")
            parts.append(take(table, column))
        return concatenate(parts, axis=1)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        codes = np.stack([rng.integers(0, n, 4) for n in (3, 5)], axis=1).astype(np.int32)
        return cls(cardinalities=(3, 5), units=(2, 3)), (rng.normal(size=(4, 2)), codes)


def _table(n: int, units: int, init: Any, rng: np.random.Generator) -> np.ndarray:
    return initializer(init, Normal(scale=1.0 / math.sqrt(units))).draw((n, units), 1, units, rng)


def _check_codes(x: Any, n: int, name: str) -> None:
    if isinstance(x, np.ndarray) and x.dtype.kind in "iu" and x.size and not (x.min() >= 0 and x.max() < n):
        wrong = int(x.min() if x.min() < 0 else x.max())
        raise DataError(f"{name}: code {wrong}, expected 0 … {n - 1}: encode unknown categories as one of these")


@record
class Flatten(Layer):
    """The axes after the first as one.   x (batch, a, b, …) -> y (batch, a b …)"""

    passes_on: ClassVar[bool] = True

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return reshape(x, (x.shape[0], math.prod(x.shape[1:])))

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(), rng.normal(size=(3, 2, 4))


@record
class Reshape(Layer):
    """Each row in another shape.   x (batch, …) -> y (batch, *shape); one entry of shape may be -1"""

    shape: tuple[int, ...]
    passes_on: ClassVar[bool] = True

    def validate(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return reshape(x, (x.shape[0], *self.shape))

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(shape=(2, -1)), rng.normal(size=(3, 6))


__all__ = ["ColumnEmbedding", "Embedding", "Flatten", "Reshape"]
