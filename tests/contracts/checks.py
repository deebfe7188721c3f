"""What every op must keep true, as plain functions of an op and one case of its sample. AssertionError otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.autodiff.functions import grad, jvp, vjp
from fallline.autodiff.numeric import numeric_gradient
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.graph.check import verify
from fallline.graph.op import Op
from fallline.graph.program import Program
from fallline.graph.sample import Case
from fallline.ops.composite import dot
from tests.tolerance import TOL, assert_close

FLOATS = ("float64", "float32")
Check = Callable[[Op, Case], None]


def cases_of(op: Op) -> list[Case]:
    """The cases that the op's sample draws, always the same ones."""
    assert op.sample is not None, f"{op.name} has no sample"
    return op.sample.draw(np.random.default_rng(0))


@dataclass(frozen=True)
class Smooth:
    """An op on one case as a function of its float arguments alone, and these arguments."""

    f: Callable[..., Any]
    xs: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, op: Op, case: Case) -> Smooth:
        args, attrs = case
        floats = {path: leaf for path, leaf in leaves(args).items() if leaf.dtype.kind == "f"}
        return cls(
            lambda *xs: op(*with_leaves(args, dict(zip(floats, xs, strict=True))), **attrs), tuple(floats.values())
        )

    def directions(self) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """A tangent of the arguments and a cotangent of the result, both random."""
        rng = np.random.default_rng(1)
        tangents = tuple(rng.normal(size=x.shape) for x in self.xs)
        return tangents, rng.normal(size=np.shape(self.f(*self.xs)))

    def weighted(self, u: np.ndarray) -> Callable[..., Any]:
        """x -> ⟨u, f(x)⟩, one number."""
        return lambda *xs: dot(u, self.f(*xs))


def check_shape_rule(op: Op, case: Case) -> None:
    """The inferred shape and dtype are those of the array, traced and eager results are the same bits."""
    for dtype in FLOATS:
        args, attrs = _in_dtype(case, dtype)
        program = verify(Program.of(lambda *a, attrs=attrs: op(*a, **attrs), *args))
        (node,), (ran,) = program.outputs, program.run(*leaves(args).values())
        eager = np.asarray(op(*args, **attrs))
        assert (ran.shape, ran.dtype) == (node.shape, node.dtype), (
            f"inferred {node.spec}, computed {ran.dtype}{ran.shape}"
        )
        assert (eager.shape, eager.dtype) == (node.shape, node.dtype)
        np.testing.assert_array_equal(ran, eager)


def check_out(op: Op, case: Case) -> None:
    """`out` is filled whatever it held before, and returned; the arguments are never written to."""
    for args, attrs, expected in _calls(op, case):
        np.testing.assert_array_equal(op.forward(*args, **attrs), expected)
        if op.view:
            continue
        out = np.full(expected.shape, np.nan if expected.dtype.kind == "f" else 1, expected.dtype)
        assert op.forward(*args, out=out, **attrs) is out
        np.testing.assert_array_equal(out, expected)


def check_inplace(op: Op, case: Case) -> None:
    """Where the op says `inplace`, the result may overwrite any argument of its shape and dtype."""
    for args, attrs, expected in _calls(op, case):
        for k, arg in enumerate(args):
            if op.inplace and (arg.shape, arg.dtype) == (expected.shape, expected.dtype):
                own = [a.copy() if i == k else a for i, a in enumerate(args)]
                op.forward(*own, out=own[k], **attrs)
                np.testing.assert_array_equal(own[k], expected)


def check_adjoint(op: Op, case: Case) -> None:
    """⟨u, J t⟩ = ⟨Jᵀ u, t⟩: forward and reverse mode apply the same matrix."""
    smooth = Smooth.of(op, case)
    tangents, u = smooth.directions()
    moved = jvp(smooth.f, smooth.xs, tangents)[1]
    pulled = vjp(smooth.f, *smooth.xs)[1](u)
    size = 1 + np.linalg.norm(u) * np.linalg.norm(moved)
    difference = np.vdot(u, moved) - sum(np.vdot(p, t) for p, t in zip(pulled, tangents, strict=True))
    assert abs(difference) <= TOL["adjoint"] * size


def check_reverse(op: Op, case: Case) -> None:
    """The gradient of ⟨u, f(x)⟩ is the central difference."""
    smooth = Smooth.of(op, case)
    goal = smooth.weighted(smooth.directions()[1])
    found = grad(goal, tuple(range(len(smooth.xs))))(*smooth.xs)
    for ours, theirs in zip(found, numeric_gradient(goal, smooth.xs), strict=True):
        assert_close(ours, theirs, "central")


def check_forward(op: Op, case: Case) -> None:
    """The derivative along a tangent is the central difference along it."""
    smooth = Smooth.of(op, case)
    tangents, u = smooth.directions()
    moved = jvp(smooth.weighted(u), smooth.xs, tangents)[1]
    along = lambda s: smooth.weighted(u)(*(x + s * t for x, t in zip(smooth.xs, tangents, strict=True)))  # noqa: E731
    assert_close(moved, numeric_gradient(along, (np.zeros(()),))[0], "central")


def check_second_order(op: Op, case: Case) -> None:
    """Reverse over reverse and forward over reverse are the central difference of the gradient."""
    smooth = Smooth.of(op, case)
    tangents, u = smooth.directions()
    wrt = tuple(range(len(smooth.xs)))
    gradient = grad(smooth.weighted(u), wrt)

    def slope(*xs: Any) -> Any:  # the gradient along the tangents, one number
        return sum(dot(g, t) for g, t in zip(gradient(*xs), tangents, strict=True))

    numeric = numeric_gradient(slope, smooth.xs)
    for ours, theirs in zip(grad(slope, wrt)(*smooth.xs), numeric, strict=True):
        assert_close(ours, theirs, "second")
    for ours, theirs in zip(jvp(gradient, smooth.xs, tangents)[1], numeric, strict=True):
        assert_close(ours, theirs, "second")


VALUES: dict[str, Check] = {"shape rule": check_shape_rule, "out": check_out, "inplace": check_inplace}
DERIVATIVES: dict[str, Check] = {
    "adjoint": check_adjoint, "reverse": check_reverse, "forward": check_forward, "second order": check_second_order,
}  # fmt: skip


def failures(op: Op, checks: dict[str, Check]) -> set[str]:
    """The names of the checks that the op fails on any of its cases."""
    failed = set()
    for name, check in checks.items():
        try:
            for case in cases_of(op):
                check(op, case)
        except AssertionError:
            failed.add(name)
    return failed


def _in_dtype(case: Case, dtype: str) -> Case:
    args, attrs = case
    return map_leaves(lambda _, leaf: leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf, args), attrs


def _calls(op: Op, case: Case) -> Iterator[tuple[list[np.ndarray], dict[str, Any], np.ndarray]]:
    """Every call of the op itself that the case leads to: read-only arguments, attributes, and the result."""
    for dtype in FLOATS:
        args, attrs = _in_dtype(case, dtype)
        program = Program.of(lambda *a, attrs=attrs: op(*a, **attrs), *args)
        arrays = Program(program.inputs, program.order).run(*leaves(args).values())
        found = {id(node): array for node, array in zip(program.order, arrays, strict=True)}
        for array in arrays:
            array.flags.writeable = False
        nodes = [v for v in program.calls if v.op is op]
        assert nodes or dtype != "float64", f"{op.name} builds no node of its own"
        for node in nodes:
            yield [found[id(a)] for a in node.args], node.attrs, found[id(node)]
