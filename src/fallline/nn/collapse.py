"""collapse: stacked linear layers are one linear layer, and this is it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.autodiff.reverse import depends_on
from fallline.core.errors import ConfigError, ShapeError
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves
from fallline.graph.op import new_input
from fallline.graph.program import Program, reachable
from fallline.graph.value import Value
from fallline.nn.dense import Dense
from fallline.nn.layer import Layer, network_of, recipe_of
from fallline.nn.run import EVAL, Run

MOST_TRIED = 200  # numbers of inputs, of a network whose first array has no axis of that length
PROBES = 5  # random rows on which the Dense is compared with the network


def collapse(network: Layer, n_in: int | None = None) -> Dense:
    """The one Dense that computes what a network of linear layers computes: f(x) = x W + b, b = f(0), W = f(I) - b.

    "Linear" is decided by the graph, not by the names of layers: a node is, when its derivative does not depend on its
    input. So BatchNorm in evaluation, Dropout, Linear, Flatten and Residual collapse as well.

    network  filled;  n_in  the number of its inputs, where its first weights do not tell it
    returns  W (n_in, units) and b (units,) in the dtype of the network, computed in float64
    raises   ConfigError that names the first layer that is not linear
    """
    network = network_of(network)
    if not isinstance(network, Layer) or not network.is_filled:
        given = repr(network) if isinstance(network, Layer) else type(network).__name__
        raise ConfigError(f"collapse takes a filled network such as fit.model.network, given {given}")
    dtype = next((leaf.dtype for leaf in leaves(network).values() if leaf.dtype.kind == "f"), np.dtype("float64"))
    exact = map_leaves(lambda _, leaf: leaf.astype(np.float64) if leaf.dtype.kind == "f" else leaf, network)
    n = _n_in(exact) if n_in is None else n_in
    _refuse_nonlinear(exact, n)
    b = _rows(exact, np.zeros((1, n)))[0]
    W = _rows(exact, np.eye(n)) - b
    _compare(exact, W, b)
    return Dense(len(b), W=W.astype(dtype), b=b.astype(dtype))


def _n_in(network: Layer) -> int:
    """The number of inputs that the network takes: an axis of its first array, or fewer where features come first."""
    axes = [n for leaf in leaves(network).values() for n in leaf.shape]
    if not axes:
        raise ConfigError(f"{network!r} has no weights that tell the number of its inputs: collapse(network, n_in)")
    first = axes[: next(leaf.ndim for leaf in leaves(network).values() if leaf.ndim)]
    fewer = range(1, min(first[0], MOST_TRIED))
    return next((n for n in (*first, *fewer) if _takes(network, n)), first[0])


def _takes(network: Layer, n: int) -> bool:
    """Whether the network can be traced on rows of n numbers."""
    try:
        Program.of(lambda x: network(x, EVAL), Spec((3, n), np.dtype("float64")))
    except (ShapeError, ConfigError, TypeError, ValueError):  # the last two: a network that reads several arrays
        return False
    return True


def _refuse_nonlinear(network: Layer, n: int) -> None:
    """ConfigError naming the first layer with a node whose derivative depends on the input of the network."""
    run = Run.of(network, record=True)
    try:
        program = Program.of(lambda x: network(x, run), Spec((3, n), np.dtype("float64")))
    except ShapeError as error:
        raise ConfigError(f"the network does not take rows of {n} numbers: collapse(network, n_in); {error}") from None
    except (TypeError, ValueError):
        raise ConfigError(f"collapse needs a network that reads one array of numbers, given {network!r}") from None
    shape = program.result.shape
    if len(shape) > 2:
        raise ConfigError(f"the network gives an array of shape {shape[1:]} a row: end it with Flatten()")
    moving = depends_on(program.order, program.inputs)
    for node in program.calls:
        if id(node) in moving and not _is_affine(node, moving):
            layer = next((layer for path, layer, _ in run.calls or [] if path == node.scope), network)
            plain = f"a function among the layers of {recipe_of(network)!r} ({node.op.name})"
            where = f"{node.scope} {recipe_of(layer)!r}" if node.scope else plain
            raise ConfigError(f"{where} is not linear: only linear layers collapse into one Dense")


def _is_affine(node: Value, moving: Any) -> bool:
    """Whether the node's derivative with respect to its moving arguments is there and depends on none of them."""
    if node.op.jvp is None:
        return False
    tangents = tuple(new_input(a.spec) if id(a) in moving and a.dtype.kind == "f" else None for a in node.args)
    tangent = node.op.jvp(tangents, node, *node.args, **node.attrs)
    return tangent is not None and not any(id(v) in moving for v in reachable([tangent]))


def _rows(network: Layer, x: np.ndarray) -> np.ndarray:
    """The outputs (rows, units)."""
    y = np.asarray(network(x, EVAL))
    return y.reshape(len(x), -1) if y.ndim < 2 else y


def _compare(network: Layer, W: np.ndarray, b: np.ndarray) -> None:
    """ConfigError where W and b do not give the network's outputs: rows are mixed, or a step has a false derivative."""
    x = np.random.default_rng(0).normal(size=(PROBES, len(W)))
    y = _rows(network, x)
    size = 1.0 + np.abs(x) @ np.abs(W) + np.abs(b)
    if y.shape != size.shape or not np.all(np.abs(x @ W + b - y) <= 1e-9 * size):
        raise ConfigError(
            f"{recipe_of(network)!r} is not a linear function of each row by itself: it does not collapse"
        )


__all__ = ["collapse"]
