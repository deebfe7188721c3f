"""What users call: grad, value_and_grad, jvp, vjp, jacobian, hessian, hvp.

All of them work on functions of arrays, numbers, and trees of them (tuples, dicts, models), and on Values,
so that they can be nested: `grad(grad(f))` is the second derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fallline.autodiff.forward import pushforward
from fallline.autodiff.numeric import numeric_jacobian
from fallline.autodiff.reverse import pullback
from fallline.core.errors import ConfigError, DtypeError, ShapeError
from fallline.core.registry import nearest
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves
from fallline.graph.op import OPS, as_value
from fallline.graph.program import Program
from fallline.graph.value import Value

Function = Callable[..., Any]
MODES = ("reverse", "forward", "numeric")


def grad(f: Function, wrt: int | Sequence[int] = 0, *, mode: str = "reverse", argnums: int | Sequence[int] | None = None) -> Function:
    """The function x -> df/dx of a function with one number as its result.

    wrt   position of the argument, or several positions (then a tuple of gradients comes back)
    mode  "reverse" (one pass for all inputs), "forward" (one pass per input), "numeric" (two runs per input)
    """
    chosen = wrt if argnums is None else argnums
    with_value = value_and_grad(f, chosen, mode=mode)
    return lambda *args, **kw: with_value(*args, **kw)[1]


def value_and_grad(f: Function, wrt: int | Sequence[int] = 0, *, mode: str = "reverse") -> Function:
    """The function x -> (f(x), df/dx); see `grad`."""
    if mode not in MODES:
        raise ConfigError(f"mode={mode!r}: {nearest(mode, MODES)}")

    def both(*args: Any, **kw: Any) -> Any:
        return _run(lambda *xs: _GRADIENTS[mode](f, wrt, xs, kw), args, f, numeric=mode == "numeric")

    return both


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(f(x), J t): the value, and the derivative along the tangents (forward mode, one pass)."""
    _same_trees("jvp", primals, tangents)

    def both(xs: Any, ts: Any) -> Any:
        copies = _copies(xs)
        result = map_leaves(lambda _, leaf: as_value(leaf), f(*copies))
        out = list(leaves(result).values())
        moved = iter(pushforward(out, list(leaves(copies).values()), list(leaves(ts).values())))
        return result, map_leaves(lambda *_: next(moved), result)

    typed = _like(tangents, primals)
    return _run(both, (tuple(primals), typed), f)


def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """(f(x), g -> Jᵀ g): the value, and the function that pulls a cotangent of the result back to the inputs.

    The pulled-back cotangents come as a tuple, one per primal (reverse mode, one pass each).
    """
    value = _run(lambda *xs: f(*xs), primals, f)

    def back(cotangent: Any) -> Any:
        def pull(xs: Any, g: Any) -> Any:
            copies = _copies(xs)
            out = [as_value(v) for v in leaves(f(*copies)).values()]
            found = iter(pullback(out, list(leaves(g).values()), list(leaves(copies).values())))
            return map_leaves(lambda *_: next(found), xs)

        _same_trees("vjp", value, cotangent)
        return _run(pull, (tuple(primals), _like(cotangent, value)), f)

    return value, back


def jacobian(f: Function, *, mode: str = "reverse") -> Function:
    """The function x -> J with J[i…, j…] = d f_i / d x_j, for a function from one array to one array.

    mode  "reverse" takes one pass per output entry, "forward" one per input entry, "numeric" two runs per input entry
    """
    if mode not in MODES:
        raise ConfigError(f"mode={mode!r}: {nearest(mode, MODES)}")

    def matrix(x: Any) -> Any:
        return _run(lambda v: _JACOBIANS[mode](f, v), (x,), f, numeric=mode == "numeric")

    return matrix


def hessian(f: Function) -> Function:
    """The function x -> H with H[i…, j…] = d²f / dx_i dx_j, for a function from one array to one number."""
    return jacobian(grad(f))


def hvp(f: Function, primal: Any, direction: Any) -> Any:
    """H d: the Hessian times a direction, at the cost of two gradients (forward over reverse)."""
    return jvp(grad(f), (primal,), (direction,))[1]


def _run(build: Function, args: Sequence[Any], f: Function, *, numeric: bool = False) -> Any:
    """build(*args): on Values it extends their graph; on arrays it becomes a program and is run at once."""
    if numeric or any(isinstance(leaf, Value) for leaf in leaves(tuple(args)).values()):
        return build(*args)
    prepared = tuple(map_leaves(lambda path, leaf: _floats(leaf, f), a) for a in args)
    program = Program.of(build, *prepared)
    outputs = program.run(*(leaf for a in prepared for leaf in leaves(a).values()))
    return program.restore([out if out.ndim else out[()] for out in outputs])


def _floats(leaf: Any, f: Function) -> np.ndarray:
    """Python numbers become float64; arrays keep their dtype."""
    if isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
        return np.asarray(leaf, dtype=np.float64)
    return np.asarray(leaf)


def _copies(tree: Any) -> Any:
    """Fresh names for the leaves: a nested derivative must not see the outer uses of the same Value."""
    return map_leaves(lambda _, leaf: OPS["identity"].apply(as_value(leaf)), tree)


def _one_number(result: Any, f: Function) -> Value:
    out = as_value(result)
    if out.shape != () or not out.spec.is_float:
        name = getattr(f, "__name__", "the function")
        raise ShapeError(f"grad needs a function with one float as its result, {name} gives {out.spec}: sum it, or use jacobian")
    return out


def _split(wrt: int | Sequence[int], args: Sequence[Any]) -> tuple[int, ...]:
    positions = (wrt,) if isinstance(wrt, int) else tuple(wrt)
    for p in positions:
        if not -len(args) <= p < len(args):
            raise ConfigError(f"wrt={p}: the function was given {len(args)} arguments")
        for leaf in leaves(args[p]).values():
            if np.dtype(leaf.dtype if hasattr(leaf, "dtype") else type(leaf)).kind not in "f" and not isinstance(leaf, int):
                raise DtypeError(f"argument {p} holds {Spec.of(leaf)}: derivatives need floats, use .astype(float)")
    return tuple(p % len(args) for p in positions)


def _pick(wrt: int | Sequence[int], grads: list[Any]) -> Any:
    return grads[0] if isinstance(wrt, int) else tuple(grads)


def _reverse_gradient(f: Function, wrt: Any, args: Sequence[Any], kw: dict[str, Any]) -> tuple[Any, Any]:
    positions, given = _split(wrt, args), list(args)
    for p in positions:
        given[p] = _copies(given[p])
    out = _one_number(f(*given, **kw), f)
    targets = [leaf for p in positions for leaf in leaves(given[p]).values()]
    found = iter(pullback([out], [np.ones((), out.dtype)], targets))
    return out, _pick(wrt, [map_leaves(lambda *_: next(found), given[p]) for p in positions])


def _forward_gradient(f: Function, wrt: Any, args: Sequence[Any], kw: dict[str, Any]) -> tuple[Any, Any]:
    positions, given = _split(wrt, args), list(args)
    for p in positions:
        given[p] = _copies(given[p])
    out = _one_number(f(*given, **kw), f)

    def one(leaf: Value) -> Any:
        parts = [pushforward([out], [leaf], [unit])[0] for unit in _units(leaf)]
        return OPS["reshape"](OPS["concatenate"]([p.reshape(1) for p in parts]), leaf.shape) if parts else leaf

    return out, _pick(wrt, [map_leaves(lambda _, leaf: one(leaf), given[p]) for p in positions])


def _numeric_gradient(f: Function, wrt: Any, args: Sequence[Any], kw: dict[str, Any]) -> tuple[Any, Any]:
    given = [map_leaves(lambda _, leaf: _floats(leaf, f), a) for a in args]
    positions, grads = _split(wrt, given), []
    value = _as_number(f(*given, **kw), f)
    for p in positions:
        def one(path: str, leaf: np.ndarray, p: int = p) -> np.ndarray:
            def moved(x: np.ndarray) -> Any:
                changed = map_leaves(lambda q, old: x if q == path else old, given[p])
                return _as_number(f(*given[:p], changed, *given[p + 1 :], **kw), f)

            return numeric_jacobian(moved, leaf)

        grads.append(map_leaves(one, given[p]))
    return value, _pick(wrt, grads)


def _as_number(result: Any, f: Function) -> Any:
    if np.shape(result) != ():
        raise ShapeError(f"grad needs a function with one float as its result, {getattr(f, '__name__', 'the function')} gives shape {np.shape(result)}")
    return np.asarray(result)


def _units(leaf: Value) -> list[np.ndarray]:
    """The unit tangents of a leaf, one per entry."""
    return [np.eye(1, leaf.size, k, dtype=leaf.dtype).reshape(leaf.shape) for k in range(leaf.size)]


def _reverse_jacobian(f: Function, x: Value) -> Any:
    copy = _copies(as_value(x))
    out = as_value(f(copy))
    rows = [pullback([out], [unit], [copy])[0] for unit in _units(out)]
    return _stacked(rows, copy.shape, 0).reshape(out.shape + copy.shape)


def _forward_jacobian(f: Function, x: Value) -> Any:
    copy = _copies(as_value(x))
    out = as_value(f(copy))
    columns = [pushforward([out], [copy], [unit])[0] for unit in _units(copy)]
    return _stacked(columns, out.shape, len(out.shape)).reshape(out.shape + copy.shape)


def _stacked(parts: list[Value], shape: tuple[int, ...], axis: int) -> Value:
    at = (*shape[:axis], 1, *shape[axis:])
    return OPS["concatenate"]([p.reshape(at) for p in parts], axis)


def _numeric_jacobian(f: Function, x: Any) -> Any:
    return numeric_jacobian(lambda v: np.asarray(f(v)), _floats(x, f))


_GRADIENTS = {"reverse": _reverse_gradient, "forward": _forward_gradient, "numeric": _numeric_gradient}
_JACOBIANS = {"reverse": _reverse_jacobian, "forward": _forward_jacobian, "numeric": _numeric_jacobian}


def _like(given: Any, model: Any) -> Any:
    """The leaves of `given` in the dtypes of the leaves of `model`."""
    dtypes = [_floats(leaf, _like).dtype if not isinstance(leaf, Value) else leaf.dtype for leaf in leaves(tuple(model) if isinstance(model, list) else model).values()]
    found = iter(dtypes)

    def cast(_: str, leaf: Any) -> Any:
        dtype = next(found)
        return leaf if isinstance(leaf, Value) else np.asarray(leaf, dtype=dtype)

    return map_leaves(cast, tuple(given) if isinstance(given, list) else given)


def _same_trees(name: str, a: Any, b: Any) -> None:
    left, right = leaves(tuple(a) if isinstance(a, list) else a), leaves(tuple(b) if isinstance(b, list) else b)
    if list(left) != list(right):
        raise ShapeError(f"{name}: the trees differ: {list(left)} and {list(right)}")
    for path in left:
        if np.shape(left[path]) != np.shape(right[path]):
            raise ShapeError(f"{name}: {path or 'the argument'} has shape {np.shape(left[path])} and {np.shape(right[path])}: they must be equal")


__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]
