"""What users call: grad, value_and_grad, jvp, vjp, jacobian, hessian, hvp.

All of them work on functions of arrays, numbers, and trees of them (tuples, dicts, models), and on Values,
so that they can be nested: `grad(grad(f))` is the second derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fallline.autodiff.forward import pushforward
from fallline.autodiff.numeric import numeric_gradient, numeric_jacobian
from fallline.autodiff.reverse import pullback
from fallline.core.errors import ConfigError, DtypeError, ShapeError
from fallline.core.numbers import counted
from fallline.core.registry import nearest
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves
from fallline.graph.op import OPS, as_value, with_args
from fallline.graph.program import Program
from fallline.graph.value import Value

Function = Callable[..., Any]
MODES = ("reverse", "forward", "numeric")


def grad(f: Function, wrt: int | Sequence[int] = 0, *, mode: str = "reverse") -> Function:
    """The function x -> df/dx of a function with one number as its result.

    wrt   position of the argument, or several positions (then a tuple of gradients comes back);
          the other arguments reach f as they are
    mode  "reverse" (one pass for all inputs), "forward" (one pass per input), "numeric" (two runs per input)
    """
    with_value = value_and_grad(f, wrt, mode=mode)
    return lambda *args, **kw: with_value(*args, **kw)[1]


def value_and_grad(f: Function, wrt: int | Sequence[int] = 0, *, mode: str = "reverse") -> Function:
    """The function x -> (f(x), df/dx); see `grad`."""
    _known_mode(mode)

    def both(*args: Any, **kw: Any) -> Any:
        positions = positions_of(wrt, args)

        def chosen(*xs: Any) -> Any:
            given = list(args)
            for p, x in zip(positions, xs, strict=True):
                given[p] = x
            return f(*given, **kw)

        xs = tuple(_need_floats(args[p], f"argument {p}") for p in positions)
        name = getattr(f, "__name__", "the function")
        if mode == "numeric":
            value, grads = _numeric_gradient(chosen, xs, name)
        else:
            value, grads = _run(lambda *vs: _gradient(chosen, vs, name, mode), xs)
        return value, grads[0] if isinstance(wrt, int) else tuple(grads)

    return both


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(f(x), J t): the value, and the derivative along the tangents (forward mode, one pass)."""
    primals, tangents = _need_floats(tuple(primals), "jvp"), tuple(tangents)
    _same_trees("jvp", primals, tangents)

    def both(xs: Any, ts: Any) -> Any:
        copies = _copies(xs)
        result = map_leaves(lambda _, leaf: as_value(leaf), f(*copies))
        out = list(leaves(result).values())
        moved = iter(pushforward(out, list(leaves(copies).values()), list(leaves(ts).values())))
        return result, map_leaves(lambda *_: next(moved), result)

    return _run(both, (primals, _like(tangents, primals)))


def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """(f(x), g -> Jᵀ g): the value, and the function that pulls a cotangent of the result back to the inputs.

    The pulled-back cotangents come as a tuple, one per primal (reverse mode, one pass each).
    """
    primals = _need_floats(primals, "vjp")
    value = _run(f, primals)

    def back(cotangent: Any) -> Any:
        _same_trees("vjp", value, cotangent)

        def pull(xs: Any, g: Any) -> Any:
            copies = _copies(xs)
            out = [as_value(v) for v in leaves(f(*copies)).values()]
            found = iter(pullback(out, list(leaves(g).values()), list(leaves(copies).values())))
            return map_leaves(lambda *_: next(found), xs)

        return _run(pull, (primals, _like(cotangent, value)))

    return value, back


def jacobian(f: Function, *, mode: str = "reverse") -> Function:
    """The function x -> J with J[i…, j…] = d f_i / d x_j, for a function from one array to one array.

    mode  "reverse" takes one pass per output entry, "forward" one per input entry, "numeric" two runs per input entry
    """
    _known_mode(mode)

    def matrix(x: Any) -> Any:
        given = _need_floats(x, "jacobian")
        if mode == "numeric":
            return numeric_jacobian(lambda v: np.asarray(f(v)), _floats(given))
        return _run(lambda v: _jacobian(f, v, mode), (given,))

    return matrix


def hessian(f: Function) -> Function:
    """The function x -> H with H[i…, j…] = d²f / dx_i dx_j, for a function from one array to one number."""
    return jacobian(grad(f))


def hvp(f: Function, primal: Any, direction: Any) -> Any:
    """H d: the Hessian times a direction, at the cost of two gradients (forward over reverse)."""
    return jvp(grad(f), (primal,), (direction,))[1]


def _run(build: Function, args: Sequence[Any]) -> Any:
    """build(*args): on Values it extends their graph; on arrays it becomes a program and is run at once.

    A program that uses Values of a graph outside (f closes over them) cannot be run: it joins that graph.
    """
    if any(isinstance(leaf, Value) for leaf in leaves(tuple(args)).values()):
        return build(*args)
    prepared = tuple(map_leaves(lambda _, leaf: _floats(leaf), a) for a in args)
    arrays = [leaf for a in prepared for leaf in leaves(a).values()]
    program = Program.of(build, *prepared)
    own = {id(v) for v in program.inputs}
    if any(v.op.name == "input" and id(v) not in own for v in program.order):
        return program.restore(_joined(program, arrays))
    return program.restore([out if out.ndim else out[()] for out in program.run(*arrays)])


def _joined(program: Program, arrays: Sequence[np.ndarray]) -> list[Value]:
    """The outputs with the program's own inputs replaced by constants."""
    found = {id(v): as_value(a) for v, a in zip(program.inputs, arrays, strict=True)}
    for node in program.order:
        if id(node) not in found:
            found[id(node)] = with_args(node, tuple(found[id(a)] for a in node.args))
    return [found[id(v)] for v in program.outputs]


def _gradient(f: Function, xs: Sequence[Any], name: str, mode: str) -> tuple[Value, Any]:
    copies = _copies(tuple(xs))
    out = as_value(f(*copies))
    if out.shape != () or not out.spec.is_float:
        raise ShapeError(
            f"grad needs a function with one float as its result, {name} gives {out.spec}: sum it, or use jacobian"
        )
    targets = list(leaves(copies).values())
    if mode == "reverse":
        found = iter(pullback([out], [np.ones((), out.dtype)], targets))
    else:
        found = iter([_by_tangents(out, leaf).reshape(leaf.shape) for leaf in targets])
    return out, map_leaves(lambda *_: next(found), copies)


def _jacobian(f: Function, x: Any, mode: str) -> Value:
    copy = _copies(as_value(x))
    out = as_value(f(copy))
    parts = _by_cotangents(out, copy) if mode == "reverse" else _by_tangents(out, copy)
    return parts.reshape(out.shape + copy.shape)


def _by_cotangents(out: Value, leaf: Value) -> Value:
    """d out_i / d leaf_j, one reverse pass per entry of out -> (out.size, leaf.size)"""
    rows = [pullback([out], [unit], [leaf])[0].reshape(1, leaf.size) for unit in _units(out)]
    return OPS["concatenate"](rows, 0) if rows else as_value(np.zeros((0, leaf.size), out.dtype))


def _by_tangents(out: Value, leaf: Value) -> Value:
    """d out_i / d leaf_j, one forward pass per entry of leaf -> (out.size, leaf.size)"""
    columns = [pushforward([out], [leaf], [unit])[0].reshape(out.size, 1) for unit in _units(leaf)]
    return OPS["concatenate"](columns, 1) if columns else as_value(np.zeros((out.size, 0), out.dtype))


def _units(leaf: Value) -> list[np.ndarray]:
    """The unit tangents of a leaf, one per entry."""
    return [np.eye(1, leaf.size, k, dtype=leaf.dtype).reshape(leaf.shape) for k in range(leaf.size)]


def _numeric_gradient(f: Function, xs: Sequence[Any], name: str) -> tuple[Any, Any]:
    given = tuple(map_leaves(lambda _, leaf: _floats(leaf), x) for x in xs)
    value = np.asarray(f(*given))
    if value.shape != ():
        raise ShapeError(
            f"grad needs a function with one float as its result, {name} gives shape {value.shape}: sum it"
        )
    return value[()], numeric_gradient(f, given)


def _floats(leaf: Any) -> np.ndarray:
    """Python numbers become float64; arrays keep their dtype."""
    if isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
        return np.asarray(leaf, dtype=np.float64)
    return np.asarray(leaf)


def _copies(tree: Any) -> Any:
    """Fresh names for the leaves: a nested derivative must not see the outer uses of the same Value."""
    return map_leaves(lambda _, leaf: OPS["identity"].apply(as_value(leaf)), tree)


def _known_mode(mode: str) -> None:
    if mode not in MODES:
        raise ConfigError(f"mode={mode!r}: {nearest(mode, MODES)}")


def positions_of(wrt: int | Sequence[int], args: Sequence[Any]) -> tuple[int, ...]:
    """The positions counted from 0; ConfigError for one that no argument has, or that stands there twice."""
    positions = (wrt,) if isinstance(wrt, int) else tuple(wrt)
    for p in positions:
        if not -len(args) <= p < len(args):
            raise ConfigError(f"wrt={p}: the function was given {counted(len(args), 'argument')}")
    found = tuple(p % len(args) for p in positions)
    if len(set(found)) < len(found):
        raise ConfigError(f"wrt={wrt}: a position stands there twice, name each once")
    return found


def _need_floats(tree: Any, name: str) -> Any:
    """The tree; DtypeError where one of its parameters is not a float (Python integers count as floats)."""
    for path, leaf in leaves(tree, "param").items():
        found = Spec.of(leaf if isinstance(leaf, Value) else _floats(leaf))
        if not found.is_float:
            where = f"{name} ({path})" if path else name
            raise DtypeError(f"{where} holds {found}: derivatives need floats, use .astype(float)")
    return tree


def _like(given: Any, model: Any) -> Any:
    """The leaves of `given` in the dtypes of the leaves of `model`."""
    dtypes = iter(
        [Spec.of(leaf if isinstance(leaf, Value) else _floats(leaf)).dtype for leaf in leaves(model).values()]
    )

    def cast(_: str, leaf: Any) -> Any:
        dtype = next(dtypes)
        return leaf if isinstance(leaf, Value) else np.asarray(leaf, dtype=dtype)

    return map_leaves(cast, given)


def _same_trees(name: str, a: Any, b: Any) -> None:
    left, right = leaves(a), leaves(b)
    if list(left) != list(right):
        raise ShapeError(f"{name}: the trees differ: {list(left)} and {list(right)}")
    for path in left:
        shapes = np.shape(left[path]), np.shape(right[path])
        if shapes[0] != shapes[1]:
            where = path or "the argument"
            raise ShapeError(f"{name}: {where} has shape {shapes[0]} and {shapes[1]}: they must be equal")


__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]
