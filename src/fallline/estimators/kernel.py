"""The kernel member of a bag: nearness to the training rows, solved by least squares, and a linear readout.

    P = K α,  K = exp(-Σ_j |v_j x_j - c_j|) of rows and centres,  (K + λ/w) α = T        T targets, one column a class

What a column counts, v, comes from how much P changes with it: v_j ~ (mean over rows of (dP/dx_j)²)^(1/4).
source  Radhakrishnan et al. 2024, "Mechanism for feature learning in neural networks", Science 383 (the reweighting)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import lapack

from fallline.core.tree import map_leaves
from fallline.engines.engine import Engine
from fallline.estimators.folds import Fold
from fallline.estimators.linear import fit_linear
from fallline.estimators.targets import Task
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.embed import ColumnEmbedding
from fallline.nn.laplace import LaplaceBasis
from fallline.nn.layer import Layer
from fallline.train.examples import Examples
from fallline.train.fit import start_model
from fallline.train.model import score_rows

WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)  # in parts of the median distance of two rows
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # λ
START = (1, 3)  # the width and the ridge that are tried first
LARGE = 20_000_000  # numbers in K, of which so large a one is kept for one width at a time
TRIES, SPEED = 12, 2e10  # fits of a member, about, and floating-point operations a second
JUDGES = 3  # folds that judge a width and a ridge
READOUT = (3.0, 0.3, 0.03)  # strengths of the readout
MOST_LEVELS = 64  # of a category that is told apart here
PAIRS = 256  # rows whose distances give the median
PROBES = 300  # rows at which slopes are taken


@dataclass(frozen=True)
class KernelMember:
    """The network, the scores of each row by fits that did not see it, and what was chosen."""

    network: Layer
    scores: np.ndarray
    loss: float
    detail: str


@dataclass(frozen=True)
class _Solved:
    """A fit: its centres' weights α, and what the rows of each fold get from the other folds."""

    basis: LaplaceBasis
    K: np.ndarray
    alpha: np.ndarray
    held_out: np.ndarray
    width: float
    ridge: float


def fit_kernel(
    examples: Examples, task: Task, folds: Sequence[Fold], *, most: int, norm: int, seed: int, engine: Engine
) -> KernelMember:
    """most  centres: all rows, or so many drawn from them;  norm  of the differences, see `LaplaceBasis`"""
    embedding = _one_hot(task, examples.x)
    X = examples.x if embedding is None else score_rows(embedding, examples.x, engine.name)
    targets, w = _targets(examples, task), examples.w.astype(np.float32)
    mean = np.average(targets, axis=0, weights=w).astype(np.float32)
    n = len(X)
    centres = np.arange(n) if n <= most else np.sort(np.random.default_rng(seed).permutation(n)[:most])
    given = X, targets - mean, w, centres, folds, norm, engine
    grid = _Grid(np.ones(X.shape[1], np.float32), *given)
    at = grid.climb(START, widths=False)
    grid = _Grid(_importance(grid.solved(at), X), *given)
    found = grid.solved(grid.climb(at, widths=True))
    told = replace(examples, x=found.held_out + mean, y=_double(examples.y), w=_double(examples.w))
    output = () if task.output is None else (task.output,)
    model = start_model(
        Sequential(Dense(task.n_scores), *output), told, task.loss, task.target, engine, 0, strict=False
    )
    read = fit_linear(model, told, folds, engine, READOUT)
    assert isinstance(read.network, Sequential)
    R = read.network.layers[0]
    W = (found.alpha @ R.W).astype(np.float32)
    b = (mean @ R.W + R.b).astype(np.float32)
    before = () if embedding is None else (embedding,)
    network = Sequential(*before, found.basis, Dense(task.n_scores, W=W, b=b), *read.network.layers[1:])
    # Many weights of both signs nearly cancel: in float32 the last digits of an answer would be those of the machine.
    network = map_leaves(lambda _, leaf: _double(leaf), network)
    detail = f"{len(centres)} centres, width {found.width:g}, ridge {found.ridge:g}"
    return KernelMember(network, read.scores, read.loss, detail)


def expected_seconds(n: int, centres: int) -> float:
    """What a kernel member of n rows takes, about: the products of its sums, or the inverse."""
    return TRIES * 2.0 * max(n, centres) * centres**2 / SPEED


def _double(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.float64) if leaf.dtype.kind == "f" else leaf


def _one_hot(task: Task, x: Any) -> ColumnEmbedding | None:
    """A fixed embedding that tells the levels of each column of codes apart; None without codes."""
    if not isinstance(x, tuple):
        return None
    columns = task.columns
    sizes = columns.cardinalities if columns is not None else tuple(int(c) + 1 for c in x[1].max(axis=0))
    tables = tuple(np.eye(k, dtype=np.float32) if k <= MOST_LEVELS else np.zeros((k, 1), np.float32) for k in sizes)
    return ColumnEmbedding(sizes, tuple(t.shape[1] for t in tables), tables=tables)


def _targets(examples: Examples, task: Task) -> np.ndarray:
    """(n, k): a column a class for codes, else the targets; of what has an exponential link the logarithm."""
    y = examples.y
    if task.loss.target_dtype == "int32":
        return np.eye(int(y.max()) + 1, dtype=np.float32)[y]
    y = y.reshape(len(y), -1).astype(np.float32)
    return np.log1p(np.maximum(y, 0.0)) if task.loss.link == "exp" else y


class _Grid:
    """Fits by width and ridge, each made once; `climb` goes to a neighbour with less squared error of left-out rows."""

    def __init__(
        self, v: np.ndarray, X: np.ndarray, T: np.ndarray, w: np.ndarray, centres: np.ndarray, folds: Sequence[Fold],
        norm: int, engine: Engine,
    ):  # fmt: skip
        some = X[centres][:PAIRS] * v
        distances = (np.abs(some[:, None] - some[None]) ** norm).sum(axis=2) ** (1 / norm)
        self.median = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
        self.v, self.X, self.T, self.w, self.centres = v, X, T, w, centres
        self.folds, self.norm, self.engine = folds, norm, engine
        self._bases: dict[int, tuple[LaplaceBasis, np.ndarray, Any]] = {}
        self._errors: dict[tuple[int, int], float] = {}

    def climb(self, at: tuple[int, int], *, widths: bool) -> tuple[int, int]:
        """The place in the grid at which no neighbour is better.   widths: whether those are neighbours too"""
        steps = [(i, j) for i in ((-1, 0, 1) if widths else (0,)) for j in (-1, 0, 1) if (i, j) != (0, 0)]
        while True:
            near = [(at[0] + i, at[1] + j) for i, j in steps]
            near = [p for p in near if 0 <= p[0] < len(WIDTHS) and 0 <= p[1] < len(RIDGES)]
            best = min(near, key=self.error)
            if not self.error(best) < self.error(at):
                return at
            at = best

    def error(self, at: tuple[int, int]) -> float:
        if at not in self._errors:
            rows, held_out = self._solver(at[0]).held_out(RIDGES[at[1]], self.folds[:JUDGES])
            errors = ((held_out - self.T[rows]) ** 2).sum(axis=1)
            self._errors[at] = float(np.average(errors, weights=self.w[rows]))
        return self._errors[at]

    def solved(self, at: tuple[int, int]) -> _Solved:
        solver, ridge = self._solver(at[0]), RIDGES[at[1]]
        basis, K, _ = self._bases[at[0]]
        rows, found = solver.held_out(ridge, self.folds)
        held_out = np.empty_like(self.T)
        held_out[rows] = found
        return _Solved(basis, K, solver.alpha(ridge), held_out, WIDTHS[at[0]], ridge)

    def _solver(self, width: int) -> _Dual | _Primal:
        if width not in self._bases:
            if len(self.X) * len(self.centres) > LARGE:
                self._bases.clear()
            v = (self.v / (WIDTHS[width] * self.median)).astype(np.float32)
            basis = LaplaceBasis(
                len(self.centres), norm=self.norm, v=v, c=np.ascontiguousarray(self.X[self.centres] * v)
            )
            K = score_rows(basis, self.X, self.engine.name)
            given = K, self.T, self.w, self.folds
            solver = _Dual(*given) if len(self.centres) == len(self.X) else _Primal(*given, self.centres)
            self._bases[width] = basis, K, solver
        return self._bases[width][2]


class _Dual:
    """(K + λ/w) α = T;  rows of a fold without it: T_F - (C_FF)⁻¹ α_F,  C = (K + λ/w)⁻¹."""

    def __init__(self, K: np.ndarray, T: np.ndarray, w: np.ndarray, folds: Sequence[Fold]):
        self.K, self.T, self.w = K, T, w
        self._last: tuple[float, np.ndarray] = (np.nan, K)

    def alpha(self, ridge: float) -> np.ndarray:
        return self._inverse(ridge) @ self.T

    def held_out(self, ridge: float, folds: Sequence[Fold]) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers, and what they get from fits to the other folds."""
        C, alpha = self._inverse(ridge), self.alpha(ridge)
        parts = [self.T[f.judge] - np.linalg.solve(C[np.ix_(f.judge, f.judge)], alpha[f.judge]) for f in folds]
        return np.concatenate([f.judge for f in folds]), np.concatenate(parts)

    def _inverse(self, ridge: float) -> np.ndarray:
        if self._last[0] != ridge:
            A = self.K.copy()
            A[np.diag_indices_from(A)] += ridge / self.w
            self._last = ridge, _inverse(A)
        return self._last[1]


class _Primal:
    """(KᵀwK + λ K_cc) α = KᵀwT, K_cc of the centres among each other; without a fold: less its part of the sums."""

    def __init__(self, K: np.ndarray, T: np.ndarray, w: np.ndarray, folds: Sequence[Fold], centres: np.ndarray):
        self.K, self.among, self.dtype = K, K[centres].astype(np.float64), T.dtype
        self.parts = {}
        for fold in folds:
            part = (K[fold.judge] * np.sqrt(w[fold.judge, None])).astype(np.float64)
            target = T[fold.judge] * np.sqrt(w[fold.judge, None])
            self.parts[id(fold)] = part.T @ part, part.T @ target.astype(np.float64)
        self.G, self.B = sum(g for g, _ in self.parts.values()), sum(b for _, b in self.parts.values())
        self.jitter = 1e-7 * float(np.trace(self.G)) / len(centres) * np.eye(len(centres))

    def alpha(self, ridge: float) -> np.ndarray:
        return _solved(self.G + ridge * self.among + self.jitter, self.B).astype(self.dtype)

    def held_out(self, ridge: float, folds: Sequence[Fold]) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers, and what they get from fits to the other folds."""
        added, parts = ridge * self.among + self.jitter, []
        for fold in folds:
            g, b = self.parts[id(fold)]
            parts.append(self.K[fold.judge] @ _solved(self.G - g + added, self.B - b).astype(self.dtype))
        return np.concatenate([f.judge for f in folds]), np.concatenate(parts)


def _inverse(A: np.ndarray) -> np.ndarray:
    """A⁻¹ of a symmetric positive definite A, by its Cholesky factor."""
    factor, failed = lapack.spotrf(A, lower=1) if A.dtype == np.float32 else lapack.dpotrf(A, lower=1)
    if failed:
        return np.linalg.pinv(A, hermitian=True)
    inverse, _ = lapack.spotri(factor, lower=1) if A.dtype == np.float32 else lapack.dpotri(factor, lower=1)
    low = np.tril_indices_from(inverse, -1)
    inverse.T[low] = inverse[low]
    return inverse


def _solved(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """A⁻¹ B."""
    _, found, failed = lapack.sposv(A, B, lower=1) if A.dtype == np.float32 else lapack.dposv(A, B, lower=1)
    return np.linalg.lstsq(A, B, rcond=None)[0] if failed else found


def _importance(solved: _Solved, X: np.ndarray) -> np.ndarray:
    """(d,) how much each column counts from now on, at most 1."""
    basis = solved.basis
    rows = np.arange(len(X))[:: max(1, len(X) // PROBES)]
    z, K = X[rows] * basis.v, solved.K[rows]
    squares, farther = np.empty(X.shape[1]), 1.0 if basis.norm == 1 else 1.0 / np.maximum(-np.log(K), 1e-6)
    for j in range(X.shape[1]):
        apart = z[:, j, None] - basis.c[None, :, j]
        turned = np.sign(apart) if basis.norm == 1 else apart * farther
        slopes = (K * turned) @ solved.alpha * basis.v[j]
        squares[j] = np.mean(slopes.astype(np.float64) ** 2)
    return ((squares / max(squares.max(), 1e-30) + 1e-6) ** 0.25).astype(np.float32)


__all__ = ["KernelMember", "expected_seconds", "fit_kernel"]
