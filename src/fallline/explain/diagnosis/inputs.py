"""Checks of what the network is given: the sizes of inputs and targets, columns that leak or are there twice."""

from __future__ import annotations

import numpy as np

from fallline.core.numbers import number_text
from fallline.core.tree import leaves
from fallline.explain.diagnosis.case import Case
from fallline.explain.diagnosis.columns import LOOKED_AT, Column, told_by
from fallline.explain.diagnosis.finding import Finding
from fallline.explain.diagnosis.yardsticks import sample, target_matrix
from fallline.explain.reports.report import Facts
from fallline.optim.solver import Solver

FEWEST_ROWS = 30
LARGE = 20.0  # root mean square of an input: a random unit in front of it starts at the flat end of tanh
UNEQUAL = 100.0  # the largest input over the smallest: gradient descent then needs about the square as many steps
TOLD_CLASSES = 0.95  # of the variance of the classes: one column gets all but about one row in a hundred right
TOLD_NUMBERS = 0.99
REST = 0.9  # of the leak: what all other columns together tell; more, and the question is just an easy one
SAME = 1e-5  # 1 - |correlation| of two columns that differ by their unit
FAR = 3.0  # times the range of all other values between them and a value that stands for "missing"
SENTINEL_SHARE = 0.3
FEWEST_LEVELS = 5
COPIES = 0.3  # of the rows; a public table of wines has 15 % of them
CONTINUOUS = 0.2  # of the rows have a value of their own: only then is a row that is there twice no accident
RARE = 0.15  # share of a class
FEWEST_OF_A_CLASS = 10  # rows: with fewer its AUC is known to a tenth only (1/√(12 n)), and no weight makes up for them
FOUND = 0.5  # of the rare class
RANKED = 0.7  # AUC: the rare class can be told from the others, it is only never called
DIGITS = 4


def leaking(case: Case) -> Finding | None:
    """A column that alone tells the target, where all others together do not."""
    subject, target = case.subject, target_matrix(case.subject)
    if target is None or subject.rows < FEWEST_ROWS or len(case.columns) < 2 or subject.loss is None:
        return None
    rows = sample(np.arange(subject.rows), LOOKED_AT)
    enough = TOLD_CLASSES if subject.loss.task == "classification" else TOLD_NUMBERS
    told = [told_by(column.values[rows], target[rows]) for column in case.columns]
    leaks = [j for j, share in enumerate(told) if share >= enough]
    others = [share for j, share in enumerate(told) if j not in leaks]
    if not leaks or not others or _rest(case, leaks) > REST * max(told):
        return None
    best = max(leaks, key=lambda j: told[j])
    column, second = case.columns[best], max(others)
    facts = Facts([
        (f"{column.name} alone tells", f"{told[best]:.1%} of the target's variance"),
        ("the next best column", f"{second:.1%}"),
        ("all others together, linearly", f"{_rest(case, leaks):.1%}"),
    ])  # fmt: skip
    names = " and ".join(case.columns[j].name for j in leaks[:3])
    return Finding(
        "leaking column",
        f"{column.name} alone tells the target: {told[best]:.1%} of it, the next best column {second:.1%}",
        names,
        (facts,),
        "the column was made from the target, or is only known once the target is known",
        f"Leave {names} out, unless it is known when a prediction is needed",
    )


def _rest(case: Case, leaks: list[int]) -> float:
    """What a linear model tells without the leaking columns, each row left out once; 0 where that cannot be said."""
    target, n = target_matrix(case.subject), case.subject.rows
    assert target is not None
    rows = sample(np.arange(n), LOOKED_AT // 2)
    kept = [c.values[rows] for j, c in enumerate(case.columns) if j not in leaks]
    X = np.stack([np.where(np.isnan(v), np.nanmedian(v), v) for v in kept], axis=1)
    X = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-12)
    T = target[rows] - target[rows].mean(axis=0)
    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    shrink = s * s / (s * s + 1e-3 * len(X))
    leverage = np.minimum((U * U) @ shrink, 1 - 1e-6)
    left_out = (T - U @ (shrink[:, None] * (U.T @ T))) / (1 - leverage)[:, None]
    spread = float((T * T).sum())
    return 1.0 - float((left_out**2).sum()) / spread if spread > 0 else 0.0


def sentinel(case: Case) -> Finding | None:
    """A value far beyond all others that stands in several rows: -999, a code for "missing"."""
    for column in case.columns:
        levels = column.levels
        if not column.is_number or len(levels) <= FEWEST_LEVELS:
            continue
        for value, rest in ((levels[0], levels[1:]), (levels[-1], levels[:-1])):
            count = int((column.values == value).sum())
            away = float(min(abs(value - rest[0]), abs(value - rest[-1])))
            if not 2 <= count <= SENTINEL_SHARE * len(column.values) or away <= FAR * float(rest[-1] - rest[0]):
                continue
            shown, low, high = (number_text(float(v), DIGITS) for v in (value, rest[0], rest[-1]))
            facts = Facts([(f"{column.name} = {shown}", f"{count:,} rows"), ("all other values", f"{low} to {high}")])
            return Finding(
                "value for missing",
                f"{column.name} is {shown} in {count:,} rows, all its other values lie between {low} and {high}",
                column.name,
                (facts,),
                f"{shown} stands for a missing value and is taken for a number",
                f'Mark it as missing (fl.read_table(…, missing=["{value:g}"])), or fill it',
            )
    return None


def unscaled(case: Case) -> Finding | None:
    """Inputs of very different or very large sizes, where training suffers from it (or, untrained, will)."""
    x = case.subject.x
    arrays = [a for a in leaves(x).values() if a.dtype.kind == "f"]
    if isinstance(_optimizer(case), Solver) or len(arrays) != 1 or arrays[0].ndim != 2:
        return None
    sizes = np.sqrt((arrays[0].astype(np.float64) ** 2).mean(axis=0))
    flags = [Column("", arrays[0][:, j].astype(np.float64)).is_flag for j in range(len(sizes))]
    able = [j for j in range(len(sizes)) if sizes[j] > 0 and not flags[j]]
    if not able:
        return None
    high, low = max(able, key=lambda j: sizes[j]), min(able, key=lambda j: sizes[j])
    ratio = sizes[high] / sizes[low]
    untrained = not case.subject.is_trained
    if sizes[high] <= (UNEQUAL if untrained else LARGE) and ratio <= UNEQUAL:
        return None
    if not (case.suffers or untrained or case.is_stuck or case.large_rises):
        return None
    names = [_name(case, j) for j in (high, low)]
    facts = Facts([
        (f"size of {names[0]}", f"{number_text(sizes[high], DIGITS)} (root mean square)"),
        (f"size of {names[1]}", number_text(sizes[low], DIGITS)),
        ("ratio of the sizes", number_text(ratio, DIGITS)),
    ])  # fmt: skip
    facts += _gradient_sizes(case, high, low, names) + _suffering(case)
    return Finding(
        "inputs not scaled",
        f"The inputs are not scaled: {names[0]} has size {number_text(sizes[high], DIGITS)}, {names[1]} "
        f"{number_text(sizes[low], DIGITS)}",
        names[0],
        (facts,),
        "the gradient of the larger input's weights dominates the update, so no learning rate suits all weights",
        "Scale each column: X = (X - X.mean(axis=0)) / X.std(axis=0), with the numbers of the training rows",
    )


def _optimizer(case: Case) -> object:
    return None if case.subject.fit is None else case.subject.fit.optimizer


def _name(case: Case, j: int) -> str:
    fitted = case.subject.fitted
    names = case.subject.names if fitted is None else fitted.feature_names
    return names[j] if j < len(names) else f"column {j}"


def _gradient_sizes(case: Case, high: int, low: int, names: list[str]) -> list[tuple[str, str]]:
    """The norms of dJ/dw over the weights of two inputs, and their ratio."""
    gradient = case.first_gradient
    if gradient is None:
        return []
    large, small = (float(np.linalg.norm(gradient[j])) for j in (high, low))
    if not (np.isfinite(large) and small > 0):
        return []
    return [
        (f"gradient of {names[0]}'s weights", number_text(large, 3)),
        (f"gradient of {names[1]}'s weights", number_text(small, 3)),
        ("ratio of gradient sizes", number_text(large / small, 3)),
    ]


def _suffering(case: Case) -> list[tuple[str, str]]:
    found = case.yardsticks if case.subject.is_trained else None
    if found is None or case.failed:
        return []
    return [
        ("the network tells of the target", f"{max(found.network, 0.0):.0%}, on its training rows"),
        ("a linear model of scaled columns", f"{found.linear:.0%}, on rows left out"),
    ]


def targets_unscaled(case: Case) -> Finding | None:
    """A regression of large numbers that Adam or gradient descent did not come to."""
    subject = case.subject
    if subject.loss is None or subject.loss.task != "regression" or subject.y is None or not subject.is_trained:
        return None
    if isinstance(_optimizer(case), Solver) or subject.loss.link != "identity" or not case.suffers:
        return None
    y = subject.y.astype(np.float64)
    size = float(np.sqrt((y * y).mean()))
    if size <= LARGE or (case.largest_curvature is not None and case.failed):  # then the rate alone decides
        return None
    facts = Facts([
        ("mean of the targets", number_text(float(y.mean()), DIGITS)),
        ("their spread", number_text(float(y.std()), DIGITS)),
        *_suffering(case),
    ])  # fmt: skip
    return Finding(
        "targets not scaled",
        f"The targets are large numbers (mean {number_text(float(y.mean()), 3)}, spread "
        f"{number_text(float(y.std()), 3)}) and the network did not come to them",
        "y",
        (facts,),
        "the first predictions are near 0 and the weights move by the learning rate, so the way is too long",
        "Train on (y - y.mean()) / y.std(), or with fl.TabularRegressor, which does that",
    )


def numbers_for_classes(case: Case) -> Finding | None:
    """A regression on a target with two values, or classes with hardly a row each."""
    subject = case.subject
    if subject.loss is None or subject.y is None or subject.rows < FEWEST_ROWS:
        return None
    y, name = subject.y, type(subject.loss).__name__
    levels, counts = np.unique(y, return_counts=True) if y.ndim == 1 else (np.zeros(0), np.zeros(0))
    if subject.loss.task == "regression" and subject.loss.link == "identity" and len(levels) == 2:
        shown = " and ".join(f"{v:g}" for v in levels)
        return Finding(
            "classes trained as numbers",
            f"The target holds two values only, {shown}: {name} takes them for numbers",
            "loss",
            (Facts([(f"y = {v:g}", f"{c:,} rows") for v, c in zip(levels, counts, strict=True)]),),
            "a loss for numbers punishes a score that is right and large as much as a wrong one",
            "Take the loss for two classes",
            {"loss": '"binary_cross_entropy"'},
        )
    if subject.loss.task == "classification" and len(levels) > 10 and np.median(counts) < FEWEST_LEVELS:
        labels = subject.classes
        if labels and all(isinstance(label, (int, float)) for label in labels):
            facts = Facts([("classes", f"{len(levels):,}"), ("rows of a class, median", f"{np.median(counts):g}")])
            return Finding(
                "numbers trained as classes",
                f"The target has {len(levels):,} different numbers, each of them a class with {np.median(counts):g} "
                "rows: classes know no order",
                "loss",
                (facts,),
                "the target is a number and was trained as a class",
                "Take a loss for numbers",
                {"loss": '"squared_error"'},
            )
    return None


def duplicated(case: Case) -> Finding | None:
    """Columns that say the same: equal up to their unit."""
    columns = [c for c in case.columns if c.is_number and len(c.levels) > 1]
    if len(columns) < 2 or case.subject.rows < FEWEST_ROWS:
        return None
    rows = sample(np.arange(case.subject.rows), LOOKED_AT)
    V = np.stack([c.values[rows] for c in columns], axis=1)
    V = np.where(np.isnan(V), np.nanmean(V, axis=0), V)
    Z = (V - V.mean(axis=0)) / np.maximum(V.std(axis=0), 1e-12)
    r = Z.T @ Z / len(rows)
    flags = np.array([c.is_flag for c in columns])
    same = np.triu(np.where(flags[:, None] & flags, r, np.abs(r)) > 1 - SAME, 1)  # one-hot of two: -1, and no fault
    pairs = [(columns[i].name, columns[j].name) for i, j in np.argwhere(same)]
    if not pairs:
        return None
    facts = Facts([(f"{a} and {b}", "correlation 1.0000") for a, b in pairs[:5]])
    more = f", and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return Finding(
        "duplicated column",
        f"{pairs[0][1]} says the same as {pairs[0][0]}{more}",
        pairs[0][1],
        (facts,),
        "the same measurement is there twice, perhaps in another unit",
        f"Leave {pairs[0][1]} out: its weight is shared between the two, which makes both hard to read",
    )


def copied_rows(case: Case) -> Finding | None:
    """Rows that are there several times, so that rows which judge were trained on."""
    columns, subject = case.columns, case.subject
    continuous = [c for c in columns if c.is_number and len(c.levels) > CONTINUOUS * subject.rows]
    if not continuous or subject.rows < FEWEST_ROWS or subject.y is None:
        return None
    cells = np.column_stack([*(c.values for c in columns), subject.y.reshape(subject.rows, -1)])
    distinct = len(np.unique(np.nan_to_num(cells), axis=0))
    copies = subject.rows - distinct
    if copies <= COPIES * subject.rows:
        return None
    facts = Facts([("rows", f"{subject.rows:,}"), ("different rows", f"{distinct:,}")])
    return Finding(
        "copied rows",
        f"{copies / subject.rows:.0%} of the rows are copies of other rows, so rows that judge were trained on",
        "rows",
        (facts,),
        "rows were joined or repeated before they were shared out",
        "Keep each row once, or give the copies one group so that no two parts share it",
    )


def imbalance(case: Case) -> Finding | None:
    """A rare class that the network could tell from the others and never calls."""
    subject = case.subject
    if subject.loss is None or subject.loss.task != "classification" or not subject.loss.probabilistic:
        return None
    if not subject.is_trained or (subject.fit is not None and subject.fit.row_weights is not None):
        return None
    if case.predicted is None:
        return None
    T, P = case.predicted
    if T.shape[1] == 1:
        T, P = np.hstack([1 - T, T]), np.hstack([1 - P, P])
    shares, called = T.mean(axis=0), P.argmax(axis=1)
    recalls = [float((called[T[:, k] > 0] == k).mean()) if T[:, k].any() else 1.0 for k in range(T.shape[1])]
    enough = T.sum(axis=0) >= FEWEST_OF_A_CLASS
    rare = [k for k in range(T.shape[1]) if enough[k] and shares[k] <= RARE and recalls[k] < FOUND]
    if not rare or shares.max() < 1.5 / len(shares):
        return None
    k = min(rare, key=lambda j: recalls[j])
    auc = _auc(P[:, k], T[:, k] > 0)
    if auc < RANKED:
        return None
    label = str(subject.classes[k]) if k < len(subject.classes) else str(k)
    facts = Facts([
        (f"share of class {label}", f"{shares[k]:.1%}"),
        ("of these found", f"{recalls[k]:.0%}"),
        ("accuracy", f"{(called == T.argmax(axis=1)).mean():.1%}, of the commonest class alone {shares.max():.1%}"),
        ("AUC of that class", f"{auc:.3f}"),
    ])  # fmt: skip
    return Finding(
        "class imbalance ignored",
        f"Class {label} is {shares[k]:.1%} of the rows and {recalls[k]:.0%} of it is found, though its rows are ranked "
        f"well (AUC {auc:.2f})",
        f"class {label}",
        (facts,),
        "each row counts the same, so the common class decides",
        "Weigh the classes, or call the rare class below a probability of ½",
        {"class_weight": '"balanced"'},
    )


def _auc(score: np.ndarray, truth: np.ndarray) -> float:
    """The share of pairs (a row of the class, another) in which the first has the higher score."""
    _, codes, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[codes]
    n = int(truth.sum())
    return float((ranks[truth].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


__all__ = [
    "copied_rows",
    "duplicated",
    "imbalance",
    "leaking",
    "numbers_for_classes",
    "sentinel",
    "targets_unscaled",
    "unscaled",
]
