"""Every engine beside the reference engine: each op on each dtype and layout, generated from the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from fallline.core.errors import DataError, DtypeError
from fallline.core.tree import map_leaves
from fallline.engines.engine import Engine
from fallline.graph.op import OPS, Op
from fallline.graph.program import Program
from tests.contracts.checks import cases_of
from tests.engines.parity import COMPILING, assert_parity, assert_same

SAMPLED = [op for op in OPS.values() if op.sample is not None]
ELEMENTWISE = [op for op in SAMPLED if op.structure == "elementwise" or op.name in ("where", "astype", "identity")]
DTYPES = ("float32", "float64", "int32", "int64", "uint32", "bool")
INDICES = {"take": 1, "put_add": 1, "take_along": 1, "add_along": 1}  # the argument that holds indices
EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 88.0, -104.0, 1e-20, -1e30, np.inf, -np.inf, np.nan)
WHOLE_EDGES = (0, 1, -1, 2, 7, 31, 2**31 - 1, -(2**31))
CAST_EDGES = (0.0, -0.0, 1.0, -1.5, 2.5, 1e6)  # beyond the range of the result a cast means nothing

every_engine = pytest.mark.parametrize("engine", COMPILING, ids=lambda e: e.name)
every_op = pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
every_elementwise_op = pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)


def in_dtype(op: Op, args: tuple[Any, ...], dtype: str) -> tuple[Any, ...]:
    """The arguments in a dtype; indices stay whole numbers and conditions truth values."""
    at = INDICES.get(op.name)
    cast = lambda _, a: a if a.dtype.kind == "b" else np.abs(a).astype(dtype) if dtype == "uint32" else a.astype(dtype)  # noqa: E731
    return tuple(arg if k == at else map_leaves(cast, arg) for k, arg in enumerate(args))


def taken(op: Op) -> list[str]:
    """The dtypes that an op takes in the first case of its sample."""
    args, attrs = cases_of(op)[0]
    found = []
    for dtype in DTYPES:
        try:
            op(*in_dtype(op, args, dtype), **attrs)
        except (DtypeError, TypeError):
            continue
        found.append(dtype)
    return found


def edges(op: Op, dtype: str) -> list[np.ndarray]:
    """Numbers at which functions misbehave; for each pair of them a place in the arguments."""
    if dtype == "bool":
        numbers: tuple[Any, ...] = (False, True)
    elif dtype.startswith("float"):
        numbers = CAST_EDGES if op.name == "astype" else EDGES
    else:
        numbers = tuple(n for n in WHOLE_EDGES if n >= 0) if dtype == "uint32" else WHOLE_EDGES
    if "shift" in op.name:
        numbers = tuple(n for n in numbers if 0 <= n < 32)
    count = len(cases_of(op)[0][0])
    grid = np.meshgrid(*[np.array(numbers)] * min(count, 2), indexing="ij")
    given = [g.reshape(-1).astype(dtype) for g in grid]
    if op.name == "where":
        return [np.arange(len(given[0])) % 3 == 0, *given]
    return given


def calls(op: Op) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """(dtype, arguments, attributes) of every dtype and case."""
    for dtype in taken(op):
        for args, attrs in cases_of(op):
            yield dtype, in_dtype(op, args, dtype), attrs
        if op in ELEMENTWISE:
            yield dtype, tuple(edges(op, dtype)), cases_of(op)[0][1]


def special_values(op: Op) -> list[tuple[Any, Any]]:
    assert op.sample is not None
    return list(op.sample.special.items())


@every_engine
@every_op
def test_every_dtype_sample_and_edge(engine: Engine, op: Op) -> None:
    for dtype, args, attrs in calls(op):
        with np.errstate(all="ignore"):
            assert_parity(engine, lambda *a, attrs=attrs: op(*a, **attrs), *args, label=(op.name, dtype))
        for special, expected in special_values(op) if dtype == "float64" else ():
            numbers = special if isinstance(special, tuple) else (special,)
            given = [np.full(3, n, dtype) for n in numbers]
            (found,) = engine.compile(Program.of(lambda *a, attrs=attrs: op(*a, **attrs), *given))(*given)
            assert_same(found, np.full(3, expected, found.dtype), label=(op.name, dtype, special))


def arguments(op: Op, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Arguments of an elementwise op in the range of its sample, in a shape of our own."""
    rng = np.random.default_rng(1)
    dtype = "float32" if "float32" in taken(op) else taken(op)[0]
    drawn = in_dtype(op, cases_of(op)[0][0], dtype)
    return [rng.choice(np.asarray(a).reshape(-1), shape) for a in drawn]


@every_engine
@every_elementwise_op
def test_every_layout(engine: Engine, op: Op) -> None:
    attrs = cases_of(op)[0][1]
    count = len(cases_of(op)[0][0])
    views: list[Callable[[Any], Any]] = [
        lambda a: a.transpose(),
        lambda a: a[1:, ::2],
        lambda a: OPS["flip"](a, 1),
        lambda a: a.reshape(-1, 19)[2:],
        lambda a: OPS["broadcast_to"](a[3], (5, a.shape[1])),
    ]

    def all_layouts(*args: Any) -> list[Any]:
        found = []
        for view in views:  # each argument in turn is a view, the others lie as they should
            for k in range(count):
                seen = [view(a) for a in args]
                plain = [a.reshape(-1)[: seen[0].size].reshape(seen[0].shape) for a in args]
                found.append(
                    op(*(s if i == k else p for i, (s, p) in enumerate(zip(seen, plain, strict=True))), **attrs)
                )
        found.append(op(*(a if k == 0 else a[:1] for k, a in enumerate(args)), **attrs))
        found.append(op(*(a if k == 0 else a[:, 2:3] for k, a in enumerate(args)), **attrs))
        return found

    assert_parity(engine, all_layouts, *arguments(op, (19, 38)), label=op.name)


@every_engine
@every_elementwise_op
def test_every_size(engine: Engine, op: Op) -> None:
    attrs = cases_of(op)[0][1]
    for size in (0, 1, 17, 1000):
        assert_parity(engine, lambda *a: op(*a, **attrs), *arguments(op, (size,)), label=(op.name, size))


@every_engine
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("name", ["sum", "max"])
def test_reductions_over_every_set_of_axes(engine: Engine, name: str, dtype: str, rng: np.random.Generator) -> None:
    op, sets = OPS[name], [axes for n in range(4) for axes in combinations(range(3), n)]
    for shape in ((3, 5, 37), (4, 1, 6), (1, 1, 1)):
        x = (4 * rng.normal(size=shape)).astype(dtype)
        for keepdims in (False, True):
            for layout in (lambda a: a, lambda a: a.transpose((2, 0, 1)), lambda a: a[::2, :, ::-1]):
                assert_parity(
                    engine,
                    lambda a, k=keepdims, layout=layout: [op(layout(a), axis=s, keepdims=k) for s in sets],
                    x, label=(name, dtype, shape, keepdims),
                )  # fmt: skip


@every_engine
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_reductions(engine: Engine, dtype: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(431, 197)).astype(dtype)
    y = rng.normal(size=84_907).astype(dtype)

    def f(x: Any, y: Any) -> list[Any]:
        return [(x * x).sum(), x.max(), (x * x).sum(axis=0), x.max(axis=1), (y * y).sum(), y.max(), (y * 0.5).max()]

    assert_parity(engine, f, x, y)


@every_engine
def test_a_maximum_of_nan_is_nan(engine: Engine) -> None:
    x = np.arange(120.0).reshape(4, 30)
    x[1, 17], x[3] = np.nan, -np.inf
    assert_parity(engine, lambda a: [a.max(axis=1), a.max(axis=0), a.max(), a[2:].max(), a[3].max()], x)


@every_engine
def test_reductions_of_nothing(engine: Engine) -> None:
    def f(x: Any, y: Any) -> list[Any]:
        return [
            x.sum(),
            x.sum(axis=0),
            x.sum(axis=1),
            x.max(axis=1),
            x * 2.0,
            x.transpose(),
            x.reshape(-1),
            x @ y,
            y @ x,
        ]

    assert_parity(engine, f, np.zeros((0, 4)), np.zeros((4, 0)))


@every_engine
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_every_layout(engine: Engine, dtype: str, rng: np.random.Generator) -> None:
    a, b, c = (rng.normal(size=s).astype(dtype) for s in ((19, 33), (33, 21), (19, 19)))
    v, w = rng.normal(size=33).astype(dtype), rng.normal(size=(66, 42)).astype(dtype)
    stack, other = (rng.normal(size=s).astype(dtype) for s in ((4, 1, 6, 33), (3, 33, 5)))

    def f(a: Any, b: Any, c: Any, v: Any, w: Any, stack: Any, other: Any) -> list[Any]:
        flip = OPS["flip"]
        return [
            a @ b, b.transpose() @ a.transpose(), a @ w[::2, ::2], a @ flip(b, 0), a @ flip(b, 1), flip(a, 0) @ b,
            c @ c, c @ c.transpose(), a @ v, v @ b, v @ v, a[:1] @ b, a @ b[:, :1], a[:, :1] @ b[:1],
            stack @ other, stack @ other[0], stack[:, 0] @ b, stack[1:2] @ flip(other, 0),
            other.transpose((0, 2, 1)) @ b, OPS["exp"](c) @ c, c @ OPS["exp"](c) + c,
            (a @ b) * 2.0 - b[0], OPS["maximum"](a @ b + b[:1], 0.0),
        ]  # fmt: skip

    # Sums of 33 products of either sign: relative to their terms, not to what is left of them.
    assert_parity(engine, f, a, b, c, v, w, stack, other, kind="f32" if dtype == "float32" else "f64")


@every_engine
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_arrays_put_together(engine: Engine, dtype: str, rng: np.random.Generator) -> None:
    x = (3 * rng.normal(size=(18, 21))).astype(dtype)
    y = (3 * rng.normal(size=(18, 4))).astype(dtype)
    join, flip, unslice = OPS["concatenate"], OPS["flip"], OPS["unslice"]

    def f(x: Any, y: Any) -> list[Any]:
        return [
            join([x, y, x], 1), join([x, flip(x, 0), x[:3]], 0), join([x.transpose(), y.transpose()], 0),
            join([x, y[:, :0]], 1), join([y[:, None], y[:, None]], 1), flip(join([y, x], 1), 1)[:, 1:],
            unslice(x, bounds=((0, 18, 1), (1, 43, 2)), shape=(18, 44)),
            unslice(y, bounds=((3, 21, 1), (2, 6, 1)), shape=(30, 7)),
            unslice(x.transpose(), bounds=((0, 63, 3), (0, 18, 1)), shape=(63, 20)), flip(flip(x, 0), 1), x,
            y.transpose(),
            x[1:4, ::-2].transpose().reshape(-1), x.transpose().reshape(-1), OPS["broadcast_to"](y[:, :1], (18, 5)),
        ]  # fmt: skip

    assert_parity(engine, f, x, y)


@every_engine
def test_the_same_array_many_times(engine: Engine, rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 7))
    assert_parity(engine, lambda a, b: [a, a, a * b, b, (a * b).transpose(), np.arange(3), a.reshape(-1)], x, x)


@every_engine
def test_programs_that_compute_nothing(engine: Engine) -> None:
    assert_parity(engine, lambda: [np.arange(3), np.float32(2.0)])
    assert_parity(engine, lambda x: x, np.arange(3))
    assert_parity(engine, lambda x, unused: x * 2.0, np.arange(3.0), np.ones(2))


@every_engine
def test_constants_of_every_dtype(engine: Engine) -> None:
    def f(i: Any, x: Any, u: Any) -> list[Any]:
        return [
            i + (2**60 + 1), i * np.arange(6), x * np.nan, x + np.inf, x * 0.1, u ^ np.uint32(0xDEADBEEF),
            x < np.arange(6.0), x * np.array([1.0, 2, 3, 4, 5, 6])[::-1],
        ]  # fmt: skip

    assert_parity(engine, f, np.arange(6), np.linspace(-1, 1, 6), np.arange(6, dtype=np.uint32))


@every_engine
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_an_index_outside_is_the_error_of_the_reference(engine: Engine, dtype: str) -> None:
    x, good = np.arange(12.0).reshape(4, 3), np.array([3, 0, 1], dtype)
    bad = np.array([0, 4, 1], dtype)
    program = Program.of(lambda a, i: OPS["take"](a * 2.0, i) + 1.0, x, good)
    call = engine.compile(program)
    with pytest.raises(DataError) as meant:
        program.run(x, bad)
    with pytest.raises(DataError) as found:
        call(x, bad)
    assert str(found.value) == str(meant.value)
    assert_same(call(x, good)[0], x[good] * 2.0 + 1.0)
