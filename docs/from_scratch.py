"""A neural network from scratch: the idea of Fallline in three hundred lines of NumPy.

Read it from top to bottom, then run it: python docs/from_scratch.py

    1  nodes        every intermediate quantity knows its value and what it was computed from
    2  ops          each derivative stands once, beside the rule that computes the value
    3  reverse      from the goal back to all inputs, in one pass
    4  on the board the same pass as a table
    5  forward      from one input to everything, and the numerical derivative that checks both
    6  a network    dense layers, a loss computed from scores
    7  optimizers   gradient descent and Adam
    8  patients     simulated data, scaled
    9  training     mini-batches, epochs, new rows
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

# 1. Nodes


class Node:
    """A quantity of the computation: its value, the op that made it and the nodes it was made from.

    An input has no op. Arithmetic on nodes computes the value at once and remembers where it came from, so
    whoever writes a formula has built the graph. A number stands on the right: w * 3, not 3 * w.
    """

    def __init__(self, value: Any, op: Op | None = None, args: Sequence[Node] = (), name: str = ""):
        self.value = np.asarray(value, dtype=np.float64)
        self.op, self.args, self.name = op, tuple(args), name

    def __add__(self, other: Any) -> Node:
        return apply(ADD, self, other)

    def __sub__(self, other: Any) -> Node:
        return apply(SUB, self, other)

    def __mul__(self, other: Any) -> Node:
        return apply(MUL, self, other)

    def __matmul__(self, other: Any) -> Node:
        return apply(MATMUL, self, other)


def apply(op: Op, *args: Any) -> Node:
    """The node op(args); numbers and arrays among the args become nodes."""
    nodes = [a if isinstance(a, Node) else Node(a) for a in args]
    return Node(op.forward(*(n.value for n in nodes)), op, nodes)


# 2. Ops


class Op(NamedTuple):
    """An operation y = op(x1, x2, …) and its derivative, told in both directions.

    forward (x1, …)         -> y
    back    (g, y, x1, …)   -> for each operand its share of dJ/dx, from g = dJ/dy
    along   (t, y, x1, …)   -> dy/ds, from t, which holds dx/ds for each operand
    """

    name: str
    forward: Callable[..., Any]
    back: Callable[..., Sequence[Any]]
    along: Callable[..., Any]


def elementwise(name: str, forward: Callable[..., Any], *slopes: Callable[..., Any]) -> Op:
    """An op on numbers, entry by entry: one slope dy/dx for each operand gives both directions."""

    def back(g: Any, y: Any, *xs: Any) -> list[Any]:
        return [fold(g * slope(y, *xs), np.shape(x)) for slope, x in zip(slopes, xs, strict=True)]

    def along(t: Sequence[Any], y: Any, *xs: Any) -> Any:
        return sum(slope(y, *xs) * tx for slope, tx in zip(slopes, t, strict=True))

    return Op(name, forward, back, along)


def fold(g: Any, shape: tuple[int, ...]) -> Any:
    """A bias (units,) that was added to every row is used once a row, so its derivative is the sum over the rows."""
    while np.ndim(g) > len(shape):
        g = g.sum(axis=0)
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] > 1)  # (4, 1) that was stretched to (4, 3)
    return g.sum(axis=axes, keepdims=True) if axes else g


def logistic(x: Any) -> Any:
    """1 / (1 + e^-x), written so that e is never raised to a large power."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


ADD = elementwise("+", np.add, lambda y, a, b: 1.0, lambda y, a, b: 1.0)
SUB = elementwise("-", np.subtract, lambda y, a, b: 1.0, lambda y, a, b: -1.0)
MUL = elementwise("·", np.multiply, lambda y, a, b: b, lambda y, a, b: a)
TANH = elementwise("tanh", np.tanh, lambda y, x: 1.0 - y * y)  # the slope in terms of the result, which is there
SIGMOID = elementwise("sigmoid", logistic, lambda y, x: y * (1.0 - y))
SOFTPLUS = elementwise("softplus", lambda x: np.logaddexp(0.0, x), lambda y, x: logistic(x))  # ln(1 + e^x)
MATMUL = Op(  # matrices only
    "@",
    np.matmul,
    lambda g, y, a, b: (g @ b.T, a.T @ g),
    lambda t, y, a, b: t[0] @ b + a @ t[1],
)
MEAN = Op("mean", np.mean, lambda g, y, x: (np.full_like(x, g / x.size),), lambda t, y, x: np.mean(t[0]))


# 3. Reverse mode


def order(goal: Node) -> list[Node]:
    """Every node that the goal depends on, each once, operands before results. No recursion: chains may be long."""
    found: list[Node] = []
    seen: set[int] = set()
    stack = [(goal, False)]
    while stack:
        node, operands_done = stack.pop()
        if operands_done:
            found.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(arg, False) for arg in node.args]
    return found


def contributions(goal: Node) -> Iterator[tuple[Node, Node, Any, Any]]:
    """The chain rule from the goal back: (v, u, what v adds to dJ/du, dJ/du so far).

    dJ/dJ = 1 comes first; if everything started at 0, everything would stay 0. A node is visited when all its
    users have been, so its own dJ/dv is complete by then.
    """
    partials: dict[int, Any] = {id(goal): np.ones_like(goal.value)}
    for v in reversed(order(goal)):
        if v.op is not None:
            shares = v.op.back(partials[id(v)], v.value, *(u.value for u in v.args))
            for u, share in zip(v.args, shares, strict=True):
                partials[id(u)] = partials.get(id(u), 0.0) + share
                yield v, u, share, partials[id(u)]


def reverse(goal: Node) -> dict[int, Any]:
    """dJ/du for every node u, by id(u): one pass, however many inputs there are."""
    return {id(goal): np.ones_like(goal.value)} | {id(u): total for _, u, _, total in contributions(goal)}


# 4. On the board


def board(goal: Node) -> str:
    """The reverse pass as a table; nodes of size 1 only. Constants have no name and are left out."""
    lines = [f"{'step':32}{'adds':>14}{'sum so far':>14}", f"{'dJ/dJ = 1':32}{'':14}{1.0:14.10f}"]
    for v, u, share, total in contributions(goal):
        if u.name:
            step = f"dJ/d{u.name} += dJ/d{v.name} · d{v.name}/d{u.name}"
            lines.append(f"{step:32}{float(np.sum(share)):14.10f}{float(np.sum(total)):14.10f}")
    return "\n".join(lines)


def named(name: str, node: Any) -> Node:
    """The node, or a new input with that value, called by the name."""
    found = node if isinstance(node, Node) else Node(node)
    found.name = name
    return found


def one_patient() -> Node:
    """Logistic regression on one patient, MaxHR 1.2 deviations below the mean and ill: J = -ln P(ill)."""
    w, b, x = named("w", -0.8), named("b", 0.3), Node(-1.2)
    a = named("a", named("wx", w * x) + b)
    return named("J", named("s", apply(SOFTPLUS, a)) - a)  # the target is 1: softplus(a) - 1 · a


# 5. Forward mode, and the numerical derivative


def forward(goal: Node, wrt: Node) -> Any:
    """dJ/d(wrt) from the input up: every node's derivative with respect to ONE number. As many passes as inputs."""
    assert wrt.value.size == 1
    t: dict[int, Any] = {}
    for v in order(goal):
        if v is wrt:
            t[id(v)] = np.ones_like(v.value)
        elif v.op is None:
            t[id(v)] = np.zeros_like(v.value)
        else:
            t[id(v)] = v.op.along([t[id(u)] for u in v.args], v.value, *(u.value for u in v.args))
    return t[id(goal)]


def numeric(f: Callable[[Any], float], w: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """(f(w + step) - f(w - step)) / (2 step) for each entry of w: slow, but it knows no calculus to get wrong."""
    slopes = np.zeros_like(w)
    for i in np.ndindex(w.shape):
        moved = np.zeros_like(w)
        moved[i] = step
        slopes[i] = (f(w + moved) - f(w - moved)) / (2.0 * step)
    return slopes


# 6. A network and its loss

Weights = dict[str, Any]  # "1.W", "1.b", "2.W" …: arrays outside the graph, nodes in it


def new_weights(widths: Sequence[int], rng: np.random.Generator) -> Weights:
    """Small random weights, so that units differ and no tanh is saturated; biases of 0."""
    made: Weights = {}
    for layer, (n_in, units) in enumerate(pairwise(widths), start=1):
        made[f"{layer}.W"] = rng.normal(0.0, n_in**-0.5, (n_in, units))
        made[f"{layer}.b"] = np.zeros(units)
    return made


def scores(w: Weights, x: Any) -> Any:
    """x W + b, then tanh, layer by layer; the last layer has no tanh: its result is the score.   (n, n_in) -> (n, 1)"""
    layers = len(w) // 2
    for layer in range(1, layers + 1):
        x = x @ w[f"{layer}.W"] + w[f"{layer}.b"]
        x = apply(TANH, x) if layer < layers else x
    return x


def loss(w: Weights, x: Any, y: Any) -> Node:
    """Mean cross-entropy -(y ln p + (1-y) ln(1-p)) with p = sigmoid(a), as softplus(a) - y a: no ln(0) can occur."""
    a = scores(w, Node(x))
    assert np.shape(y) == a.value.shape, f"y has shape {np.shape(y)}, the scores {a.value.shape}"
    return apply(MEAN, apply(SOFTPLUS, a) - Node(y) * a)


def loss_and_gradient(w: Weights, x: Any, y: Any) -> tuple[float, Weights]:
    """The loss and dJ/dw for every array of weights."""
    nodes = {name: Node(value) for name, value in w.items()}
    goal = loss(nodes, x, y)
    partials = reverse(goal)
    return float(goal.value), {name: partials[id(node)] for name, node in nodes.items()}


# 7. Optimizers


def sgd(w: Any, g: Any, slots: tuple[Any, ...], rate: float, t: int) -> tuple[Any, tuple[Any, ...]]:
    """w <- w - rate g"""
    return w - rate * g, ()


def adam(w: Any, g: Any, slots: tuple[Any, ...], rate: float, t: int) -> tuple[Any, tuple[Any, ...]]:
    """m <- 0.9 m + 0.1 g;  v <- 0.999 v + 0.001 g²;  w <- w - rate m̂ / (sqrt(v̂) + 1e-8).   Kingma & Ba 2015"""
    m, v = slots or (np.zeros_like(w), np.zeros_like(w))
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    m_hat, v_hat = m / (1.0 - 0.9**t), v / (1.0 - 0.999**t)  # both started at 0: undo the pull towards it
    return w - rate * m_hat / (np.sqrt(v_hat) + 1e-8), (m, v)


# 8. Patients


def patients(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Simulated Age, MaxHR, Oldpeak and the diagnosis. MaxHR tells only in relation to the age, Oldpeak by itself.

    returns  X (n, 3), columns with mean 0 and deviation 1;  y (n, 1), 1 = ill
    """
    age = rng.normal(55.0, 9.0, n)
    max_hr = rng.normal(208.0 - 0.95 * age, 18.0)
    oldpeak = np.maximum(0.0, rng.normal(0.9, 1.1, n))
    strain = np.abs(max_hr - (208.0 - 0.95 * age)) / 18.0  # far too slow or far too fast
    ill = rng.random(n) < logistic(3.0 * strain + 1.5 * oldpeak - 3.5)
    X = np.stack([age, max_hr, oldpeak], axis=1)
    return (X - X.mean(axis=0)) / X.std(axis=0), ill[:, None].astype(np.float64)


# 9. Training


def train(
    w: Weights, x: np.ndarray, y: np.ndarray, *, epochs: int, rate: float, batch: int, rng: Any, step: Any = adam
) -> Iterator[tuple[int, float, Weights]]:
    """Mini-batch gradient descent: forward pass, loss, gradient, update, repeat. Yields (epoch, mean loss, weights)."""
    slots: dict[str, tuple[Any, ...]] = dict.fromkeys(w, ())
    t = 0
    for epoch in range(1, epochs + 1):
        total, rows = 0.0, rng.permutation(len(x))  # each row once an epoch, in a new order
        for start in range(0, len(x), batch):
            chosen = rows[start : start + batch]
            value, gradient = loss_and_gradient(w, x[chosen], y[chosen])
            total, t = total + value * len(chosen), t + 1
            moved = {name: step(w[name], gradient[name], slots[name], rate, t) for name in w}
            w, slots = {k: m[0] for k, m in moved.items()}, {k: m[1] for k, m in moved.items()}
        yield epoch, total / len(x), w


def accuracy(w: Weights, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean((scores({k: Node(v) for k, v in w.items()}, Node(x)).value > 0) == (y > 0.5)))


def main() -> None:
    goal = one_patient()
    print(board(goal))
    b = next(node for node in order(goal) if node.name == "b")
    print(f"dJ/db in reverse mode {reverse(goal)[id(b)]:.10f}, in forward mode {forward(goal, b):.10f}\n")

    rng = np.random.default_rng(0)
    x, y = patients(600, rng)
    known, new = slice(0, 400), slice(400, None)  # training never sees the new ones
    w = new_weights((3, 16, 1), rng)
    _, gradient = loss_and_gradient(w, x[:50], y[:50])
    for name in w:

        def loss_at(part: Any, name: str = name) -> float:
            return float(loss(w | {name: part}, x[:50], y[:50]).value)

        slopes = numeric(loss_at, w[name])
        assert np.allclose(gradient[name], slopes, rtol=1e-6, atol=1e-8), name

    same = max(np.mean(y[new]), 1.0 - np.mean(y[new]))
    print(f"right for new patients: always one answer {same:.0%}, random weights {accuracy(w, x[new], y[new]):.0%}")
    for epoch, mean_loss, trained in train(w, x[known], y[known], epochs=60, rate=0.01, batch=32, rng=rng):
        if epoch in (1, 2, 5, 10, 20, 40, 60):
            print(f"epoch {epoch:2}: loss {mean_loss:.4f}, right for {accuracy(trained, x[new], y[new]):.0%}")
    line = new_weights((3, 1), rng)
    *_, (_, _, line) = train(line, x[known], y[known], epochs=60, rate=0.01, batch=32, rng=rng)
    print(f"without the hidden layer, which is logistic regression: right for {accuracy(line, x[new], y[new]):.0%}")


if __name__ == "__main__":
    main()
