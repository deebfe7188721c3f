"""The closed form of least squares: the weights where dJ/dw = 0, for scores that are linear in the weights.

    J(w) = Σ_i v_i ‖s_i - y_i‖² / (n k) + Σ_j l2_j w_j² / 2,   s = s(0) + A w       v weights of the rows, k outputs

Everything under one square is min ‖B w - c‖²; its triangle R (B = Q R) is gathered chunk by chunk, so that memory does
not grow with the rows, and B itself is never squared: the solution has all the digits that the data allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from fallline.autodiff.forward import pushforward
from fallline.core.errors import ConfigError
from fallline.core.select import select
from fallline.core.tree import map_leaves
from fallline.graph.program import Program, reachable
from fallline.graph.value import Value
from fallline.losses.loss import Loss
from fallline.losses.penalties import L2
from fallline.losses.regression import SquaredError
from fallline.train.examples import Examples, take_rows

Arrays = dict[str, Any]
Scores = Callable[[Arrays, Any], Value]
INSTEAD = "take optimizer='newton' or gradient descent"
ENTRIES = 2_000_000  # of B, in one chunk: 16 MB
PROBES = 5  # rows on which the scores are compared at random weights
ROUNDING = 1e-9  # of the largest score


def solve_least_squares(
    scores: Scores, params: Arrays, loss: Loss, penalties: tuple[Any, ...], train: Examples
) -> np.ndarray:
    """The w of the smallest norm among those with dJ/dw = 0, in float64, whatever the precision of the rest.

    scores   (parameters by path, x) -> the network's scores, as a Value
    returns  (n_weights,), the parameters in their order
    raises   ConfigError where there is no such formula, with the reason
    """
    check_quadratic(scores, params, loss, penalties, train)
    params = map_leaves(_double, params)
    n_weights = sum(leaf.size for leaf in params.values())
    triangle: Any = np.zeros((0, n_weights + 1))
    for B, c in chain(_rows_of_penalties(params, penalties), _rows_of_data(scores, params, train)):
        triangle = np.linalg.qr(np.vstack([triangle, np.column_stack([B, c])]), mode="r")
    return np.linalg.lstsq(triangle[:, :-1], triangle[:, -1], rcond=None)[0]


def check_quadratic(scores: Scores, params: Arrays, loss: Loss, penalties: tuple[Any, ...], train: Examples) -> None:
    """ConfigError with the reason unless J is a quadratic function of the weights: the one above."""
    _check_squares(loss, penalties)
    params = map_leaves(_double, params)
    path = _bend(scores, params, train)
    if path is not None:
        why = f"their slope depends on {path}" if path else "at random weights they are not what their slope says"
        raise ConfigError(
            f"this network has no explicit solution: dL/dW = 0 cannot be solved for W, because its scores are not "
            f"linear in its weights ({why}); {INSTEAD}"
        )


def _double(_: str, leaf: Any) -> Any:
    return leaf.astype(np.float64) if leaf.dtype.kind == "f" else leaf


def _check_squares(loss: Loss, penalties: tuple[Any, ...]) -> None:
    if type(loss) is not SquaredError:
        raise ConfigError(
            f"there is no closed form for {loss!r}: only the squared error makes dL/dW = 0 a linear equation; {INSTEAD}"
        )
    wrong = next((penalty for penalty in penalties if type(penalty) is not L2), None)
    if wrong is not None:
        raise ConfigError(
            f"there is no closed form with the penalty {wrong!r}, only with L2: leave it out, or {INSTEAD}"
        )


def _bend(scores: Scores, params: Arrays, train: Examples) -> str | None:
    """None where scores are linear in the weights, else the path of weights that their derivative depends on, or ""."""
    nodes: dict[str, Any] = {}

    def derivative(given: Any, x: Any) -> Any:
        nodes.update(given)
        return pushforward(
            [scores(given, x)], list(given.values()), [np.ones(v.shape, v.dtype) for v in given.values()]
        )[0]

    program = Program.of(derivative, params, map_leaves(_double, take_rows(train.x, np.s_[:2])))
    needed = {id(v) for v in reachable(program.outputs)}
    path = next((path for path, node in nodes.items() if id(node) in needed), None)
    return path if path is not None or _is_affine(scores, params, train) else ""


def _is_affine(scores: Scores, params: Arrays, train: Examples) -> bool:
    """Whether s(a w + b v) - s(0) = a (s(w) - s(0)) + b (s(v) - s(0)) at random weights w, v.

    A derivative alone does not tell: that of sign and of stop_gradient is 0, and they are not constant.
    """
    x = map_leaves(_double, take_rows(train.x, np.s_[:PROBES]))
    program, rng = Program.of(scores, params, x), np.random.default_rng(0)
    w, v = ({path: rng.normal(size=leaf.shape) for path, leaf in params.items()} for _ in range(2))
    zero, both = ({path: a * w[path] + b * v[path] for path in params} for a, b in ((0, 0), (0.7, -1.9)))
    at = [program(each, x).ravel() for each in (zero, w, v, both)]
    error = at[3] - at[0] - 0.7 * (at[1] - at[0]) + 1.9 * (at[2] - at[0])
    return not np.any(np.abs(error) > ROUNDING * (1 + np.max(np.abs(at))))


def _rows_of_penalties(params: Arrays, penalties: tuple[L2, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """sqrt(l2 / 2) w_j = 0 for every weight under a penalty."""
    for penalty in penalties:
        chosen = select(penalty.where, params, repr(penalty))
        picked = np.concatenate([np.full(leaf.size, path in chosen) for path, leaf in params.items()])
        if picked.any():
            yield np.sqrt(penalty.strength / 2) * np.eye(len(picked))[picked], np.zeros(int(picked.sum()))


def _rows_of_data(scores: Scores, params: Arrays, train: Examples) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """sqrt(v_i / (n k)) (A w) = sqrt(v_i / (n k)) (y - s(0)), some rows at a time."""
    n_outputs = 1 if train.y.ndim == 1 else train.y.shape[1]
    n_weights = sum(leaf.size for leaf in params.values())
    chunk = max(1, ENTRIES // (n_weights * n_outputs))
    for start in range(0, len(train), chunk):
        part = train.take(np.arange(start, min(start + chunk, len(train))))
        A, at_zero = _linear_scores(scores, params, map_leaves(_double, part.x))
        share = np.sqrt(np.repeat(part.w.astype(np.float64), n_outputs) / (len(train) * n_outputs))
        yield A * share[:, None], (part.y.astype(np.float64).ravel() - at_zero) * share


def _linear_scores(scores: Scores, params: Arrays, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """A (rows · outputs, n_weights) and s(0) (rows · outputs,): the scores are s(0) + A w."""
    program = Program.of(scores, params, x)
    nothing = {path: np.zeros_like(leaf) for path, leaf in params.items()}
    at_zero = program(nothing, x).ravel()
    columns = []
    for path, leaf in params.items():
        for j in range(leaf.size):
            unit = np.eye(1, leaf.size, j).reshape(leaf.shape)
            columns.append(program({**nothing, path: unit}, x).ravel() - at_zero)
    return np.stack(columns, axis=1), at_zero
