"""Hypothesis strategies: shapes, arrays, trees, and random programs over the ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fallline.graph.op import OPS

SIDES = st.integers(1, 3)


def shapes(min_dims: int = 0, max_dims: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    """Small shapes without empty axes."""
    return st.lists(SIDES, min_size=min_dims, max_size=max_dims).map(tuple)


def arrays(
    shape: tuple[int, ...] | st.SearchStrategy[tuple[int, ...]],
    dtype: str = "float64",
    low: float = -2,
    high: float = 2,
) -> st.SearchStrategy[np.ndarray]:
    """Uniform reals of a shape; only the seed is drawn, so that examples stay quick to make and to show."""
    given = st.just(shape) if isinstance(shape, tuple) else shape
    draw = lambda seed, dims: np.random.default_rng(seed).uniform(low, high, dims).astype(dtype)  # noqa: E731
    return st.builds(draw, st.integers(0, 2**16), given)


def broadcastable(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes that broadcast to the given one."""
    kept = st.tuples(*(st.sampled_from([1, d]) for d in shape))
    return st.integers(0, len(shape)).flatmap(lambda cut: kept.map(lambda dims: dims[cut:]))


def trees(max_leaves: int = 6) -> st.SearchStrategy[Any]:
    """Tuples and dicts of arrays."""
    names = st.sampled_from(["W", "b", "layers", "x1"])
    return st.recursive(
        arrays(shapes(max_dims=2)),
        lambda inner: st.tuples(inner, inner) | st.dictionaries(names, inner, min_size=1, max_size=3),
        max_leaves=max_leaves,
    )


def _op(name: str) -> Callable[..., Any]:
    return lambda *args, **kw: OPS[name](*args, **kw)


def _calm(x: Any) -> Any:
    """Brought into -1..1, so that no chain of steps runs away."""
    return OPS["tanh"](x)


# Steps that keep the shape. Each is smooth and bounded by a sum of its arguments.
UNARY: dict[str, Callable[[Any], Any]] = {
    **{name: _op(name) for name in ("tanh", "sin", "cos", "arctan", "sigmoid", "erf", "negative", "identity")},
    "exp": lambda x: OPS["exp"](_calm(x)),
    "expm1": lambda x: OPS["expm1"](_calm(x)),
    "log": lambda x: OPS["log"](2.0 + _calm(x)),
    "log1p": lambda x: OPS["log1p"](0.5 * _calm(x)),
    "sqrt": lambda x: OPS["sqrt"](2.0 + _calm(x)),
    "tan": lambda x: OPS["tan"](_calm(x)),
    "flatten": lambda x: x.reshape(-1),
    "transpose": lambda x: OPS["transpose"](x),
    "total": lambda x: OPS["sum"](x),
    "row sums": lambda x: OPS["sum"](x, axis=-1, keepdims=True) if x.ndim else x,
    "running sums": lambda x: OPS["cumsum"](x) if x.ndim else x,
    "flip": lambda x: OPS["flip"](x) if x.ndim else x,
    "first": lambda x: x[0] if x.ndim else x,
    "rows twice": lambda x: OPS["concatenate"]([x, x], 0) if x.ndim else x,
    "taken": lambda x: OPS["take"](x, np.array([0, x.shape[0] - 1, 0])) if x.ndim else x,
    "gram": lambda x: OPS["matmul"](_calm(x), OPS["transpose"](_calm(x))) if x.ndim == 2 else x,
    "spread": lambda x: OPS["broadcast_to"](x, (2, *x.shape)) if x.ndim < 3 else x,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": _op("add"),
    "subtract": _op("subtract"),
    "multiply": lambda a, b: a * _calm(b),
    "divide": lambda a, b: a / (2.0 + _calm(b)),
    "power": lambda a, b: OPS["power"](2.0 + _calm(a), _calm(b)),
}
KINKED: dict[str, Callable[[Any, Any], Any]] = {
    "maximum": _op("maximum"),
    "minimum": _op("minimum"),
    "where": lambda a, b: OPS["where"](OPS["less"](a, b), a, 2.0 * b),
    "absolute": lambda a, b: OPS["absolute"](a) + b,
    "max": lambda a, b: OPS["max"](a) * _calm(b),
}


@dataclass(frozen=True)
class RandomProgram:
    """A straight-line function: each step takes two earlier values and makes one more; the last is returned."""

    steps: tuple[tuple[str, int, int], ...]
    shapes: tuple[tuple[int, ...], ...]

    def __call__(self, *xs: Any) -> Any:
        values = list(xs)
        for name, i, j in self.steps:
            a, b = values[i % len(values)], values[j % len(values)]
            if name in UNARY:
                values.append(UNARY[name](a))
            else:
                fits = a.shape == b.shape or not b.shape
                values.append((BINARY | KINKED)[name](a, b if fits else OPS["sum"](b)))
        return values[-1]

    def inputs(self, seed: int = 0, dtype: str = "float64") -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [rng.uniform(-2, 2, shape).astype(dtype) for shape in self.shapes]


@st.composite
def programs(draw: st.DrawFn, *, smooth: bool = False, max_steps: int = 8) -> RandomProgram:
    """Random programs of one to three inputs; `smooth` leaves out the ops with kinks."""
    names = [*UNARY, *BINARY] + ([] if smooth else list(KINKED))
    dims = draw(st.lists(shapes(max_dims=2), min_size=1, max_size=3))
    places = st.integers(0, max_steps + 2)
    steps = draw(st.lists(st.tuples(st.sampled_from(names), places, places), min_size=1, max_size=max_steps))
    return RandomProgram(tuple(steps), tuple(dims))
