"""Feature maps φ(x) that are chosen and not learned: monomials, random Fourier features, radial basis functions."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError, DataError, ShapeError
from fallline.core.record import Array, buffer, param, record, setting
from fallline.nn.dense import as_rows, features_of
from fallline.nn.initializers import Initializer, Normal, initializer
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops.composite import square
from fallline.ops.index import take
from fallline.ops.linalg import matmul
from fallline.ops.reduce import sum as asum
from fallline.ops.shape import concatenate, expand_dims, reshape
from fallline.ops.transcendental import cos, exp

MOST_MONOMIALS = 20_000  # a row; more make a matrix of the rows that no longer fits beside the data


@record
class PolynomialFeatures(Layer):
    """All products x_i x_j … of 1 to `degree` inputs.   x (batch, n) -> y (batch, C(n + degree, degree) - 1)

    By rising degree, in each degree in the order of the columns: x_1, x_2, x_1², x_1 x_2, x_2², … The constant 1 is
    left out: the bias of the next layer is it.
    interactions  False keeps the powers of single columns: x_1, x_2, x_1², x_2², …
    raises        ConfigError where that makes more than 20,000 columns
    """

    degree: int = setting(2, at_least=1)
    interactions: bool = True
    aliases: ClassVar[tuple[str, ...]] = ("poly",)

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        x = reshape(x, (x.shape[0], 1)) if x.ndim == 1 else x
        n = features_of(x, "PolynomialFeatures")
        self._refuse_too_many(n)
        blocks, last = [x], x
        at: dict[tuple[int, ...], int] = {(i,): i for i in range(n)}
        for degree in range(2, self.degree + 1):
            # Each product is one column times a product of the degree below, which stands in the last block.
            products = self._products(n, degree)
            first = np.array([p[0] for p in products])
            rest = np.array([at[p[1:]] for p in products])
            last = take(x, first, axis=-1) * take(last, rest, axis=-1)
            at = {p: i for i, p in enumerate(products)}
            blocks.append(last)
        return concatenate(blocks, axis=-1)

    def _products(self, n: int, degree: int) -> list[tuple[int, ...]]:
        """The columns of each product of that degree, in order."""
        if self.interactions:
            return list(combinations_with_replacement(range(n), degree))
        return [(i,) * degree for i in range(n)]

    def _refuse_too_many(self, n: int) -> None:
        total = math.comb(n + self.degree, self.degree) - 1 if self.interactions else n * self.degree
        if total > MOST_MONOMIALS:
            alone = " or interactions=False" if self.interactions else ""
            raise ConfigError(
                f"{self!r} of {n} columns makes {total:,} columns, more than {MOST_MONOMIALS:,}: "
                f"give a lower degree{alone}"
            )

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(degree=3), rng.normal(size=(4, 3))


@record
class RandomFourier(Layer):
    """y = sqrt(2 / units) cos(x W + b), W ~ N(0, 2 gamma), b ~ U(0, 2π): y(u)·y(v) ≈ exp(-gamma |u - v|²).

    x (batch, n) -> y (batch, units). A linear model of it is a kernel method whose cost grows with the rows and not
    with their square; the error of the kernel falls as 1 / sqrt(units). W and b are drawn once and not trained.
    gamma   1 / (2 · width²) of the Gaussian kernel, for inputs of unit variance about 1 / n
    source  Rahimi & Recht 2007, "Random features for large-scale kernel machines", algorithm 1
    """

    units: int = setting(100, at_least=1)
    gamma: float = setting(1.0, above=0)
    W: Array = buffer()  # (n, units)
    b: Array = buffer()  # (units,)
    aliases: ClassVar[tuple[str, ...]] = ("rbf",)

    def build(self, x: Any, rng: np.random.Generator) -> RandomFourier:
        dtype, n = param_dtype(x), features_of(x, "RandomFourier")
        W = rng.normal(0.0, math.sqrt(2.0 * self.gamma), (n, self.units))
        b = rng.uniform(0.0, 2.0 * math.pi, self.units)
        return self.replace(W=W.astype(dtype), b=b.astype(dtype))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return math.sqrt(2.0 / self.units) * cos(matmul(as_rows(x, self.W), self.W) + self.b)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(units=5), rng.normal(size=(4, 3))


@record
class RadialBasis(Layer):
    """y_k = exp(-gamma |x - c_k|²): how near x lies to each centre.   x (batch, n) -> y (batch, units)

    The centres c are learned; they start as draws for standardised inputs, or as rows of the data with `from_rows`.
    The differences are taken before they are squared: |x|² - 2 x·c + |c|² would lose the digits of near points.
    init    an initializer or its name; "auto" is normal with standard deviation 1
    source  Broomhead & Lowe 1988, "Multivariable functional interpolation and adaptive networks"
    """

    units: int = setting(at_least=1)
    gamma: float = setting(1.0, above=0)
    init: str | Initializer = "auto"
    c: Array = param()  # (units, n)
    aliases: ClassVar[tuple[str, ...]] = ("centres",)

    def validate(self) -> None:
        initializer(self.init)

    def build(self, x: Any, rng: np.random.Generator) -> RadialBasis:
        dtype, n = param_dtype(x), features_of(x, "RadialBasis")
        return self.replace(c=initializer(self.init, Normal(scale=1.0)).draw((self.units, n), n, 1, rng).astype(dtype))

    @classmethod
    def from_rows(cls, X: Any, units: int, seed: int = 0, gamma: float = 1.0) -> RadialBasis:
        """The layer with `units` different rows of X (n_rows, n) as its centres."""
        rows = np.asarray(X)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.dtype.kind not in "fiu" or not np.isfinite(rows).all():
            given = f"{rows.dtype} of shape {rows.shape}"
            raise DataError(f"from_rows takes rows of finite numbers, shape (n_rows, n), given {given}")
        different = np.unique(rows, axis=0)
        if len(different) < units:
            raise DataError(f"{units} centres from {len(different)} different rows: give more rows or fewer units")
        chosen = different[np.sort(np.random.default_rng(seed).permutation(len(different))[:units])]
        return cls(units, gamma, c=chosen if rows.dtype.kind == "f" else chosen.astype(np.float64))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        x = reshape(x, (x.shape[0], 1)) if x.ndim == 1 else x
        if x.shape[-1] != self.c.shape[1]:  # one column would be broadcast to many
            raise ShapeError(f"rows of {x.shape[-1]} numbers and centres of {self.c.shape[1]}: they must have as many")
        return exp(-self.gamma * asum(square(expand_dims(x, -2) - self.c), axis=-1))

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(units=3, gamma=0.5), rng.normal(size=(4, 2))


__all__ = ["PolynomialFeatures", "RadialBasis", "RandomFourier"]
