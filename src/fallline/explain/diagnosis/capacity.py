"""Checks of what the network could have learned: too little, by heart, no more than a linear model, or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.tree import records_in
from fallline.explain.diagnosis.case import Case
from fallline.explain.diagnosis.finding import Finding
from fallline.explain.diagnosis.training import losses_of, still_falls
from fallline.explain.diagnosis.yardsticks import CLEAR, SURE, Yardsticks
from fallline.explain.reports.report import Facts
from fallline.losses.penalties import L2
from fallline.nn.dropout import Dropout
from fallline.nn.layer import count_parameters

LEFT_BEHIND = 1.25  # times the best validation loss: the run went on long after it
STILL_FELL = 0.8  # times the training loss of that epoch: meanwhile the training rows were learned further
HALF = 0.5  # of the way from the untrained loss to the training loss; a model that generalises goes most of it
SLIGHT = 0.1  # of the validation loss: a smaller gap is no matter, also where next to nothing could be learned
MORE_THAN_THERE_IS = 0.2  # of the variance, on the training rows above what a simple method tells of rows left out
NOTHING = 0.01  # of the target's variance
STRONG_L2 = 0.5  # twice the curvature of a logistic loss of scaled inputs: it takes two thirds off every weight
STRONG_DROPOUT = 0.7  # of the units
DIGITS = 4


def nothing_told(case: Case) -> Finding | None:
    """Neither the network nor a simple method does better on unseen rows than the mean."""
    found = case.yardsticks
    if found is None or max(found.linear, found.near) >= NOTHING:
        return None
    held = found.network_held
    if (found.network if held is None else held) >= (10 * NOTHING if held is None else NOTHING):
        return None
    facts = _skills(found)
    return Finding(
        "nothing to learn",
        "The columns tell nothing of the target: on rows left out no method does better than always giving the mean",
        "data",
        (facts,),
        "the rows of X and y do not belong together (one of them was sorted or shuffled alone), or the columns that "
        "matter are missing",
        "Compare some rows of X and y with their source; look for columns that have to do with the target",
    )


def _skills(found: Yardsticks) -> Facts:
    """What part of the target's variance each method tells."""
    facts = Facts([("the network, on its training rows", _share(found.network))])
    if found.network_held is not None:
        facts.append(("the network, on validation rows", _share(found.network_held)))
    facts.append(("a linear model, on rows left out", _share(found.linear)))
    facts.append(("the mean of the nearest rows, left out", _share(found.near)))
    return facts


def _share(skill: float) -> str:
    if not np.isfinite(skill):
        return "no finite number"
    return f"{max(skill, 0.0):.0%} of the target's variance" + (", it is worse than the mean" if skill < -0.05 else "")


def too_strong(case: Case) -> Finding | None:
    """A penalty or a dropout that keeps the network from what a simple method tells."""
    found = case.behind
    if found is None or case.subject.fit is None or case.failed:
        return None
    strength = sum(p.strength for p in case.subject.fit.penalties if isinstance(p, L2))
    rate = max((part.rate for _, part in records_in(case.subject.network) if isinstance(part, Dropout)), default=0.0)
    if strength < STRONG_L2 and rate < STRONG_DROPOUT:
        return None
    by_penalty = strength >= STRONG_L2
    what = f"l2={strength:g}" if by_penalty else f"Dropout({rate:g})"
    cause = "the penalty costs more than what the weights would gain" if by_penalty else "too few units are left a step"
    return Finding(
        "regularised too strongly",
        f"{what} keeps the network from learning: it tells {_share(found.network)} on its training rows, "
        f"{found.best_simple[0]} {found.best_simple[1]:.0%} of rows left out",
        "l2" if by_penalty else "dropout",
        (_skills(found),),
        cause,
        f"Take a tenth of the penalty: l2={strength / 10:g}" if by_penalty else "Take dropout=0.2, or none",
        {"l2": f"{strength / 10:g}"} if by_penalty else {},
    )


def underfit(case: Case) -> Finding | None:
    """High bias: the network does not even learn its training rows as far as a simple method tells unseen ones."""
    found = case.behind
    if found is None:
        return None
    name, skill = found.best_simple
    return Finding(
        "underfit",
        f"High bias: the network tells {_share(found.network)} on its own training rows; {name} tells {skill:.0%} of "
        "rows that it has not seen",
        "network",
        (_skills(found), cures(case, bias=True)),
        "it has too few parameters for this, or has not been trained long enough",
        "Take more units or layers, then train longer",
    )


def overfit(case: Case) -> Finding | None:
    """High variance: what was gained on the training rows is not there on the validation rows."""
    fit, history = case.subject.fit, case.subject.history
    assert fit is not None
    assert history is not None
    train, judged = history["train_loss"], history["validation_loss"]
    epochs = history["epoch"].astype(int)
    best = int(np.nan_to_num(judged[1:], nan=np.inf).argmin()) + 1
    ran_out = fit.ended == "epochs"  # a run that was stopped in time is judged by the weights that it kept
    at = len(epochs) - 1 if ran_out else int((epochs == fit.best_epoch).argmax())
    possible, kept = judged[0] - train[at], judged[0] - judged[at]
    too_long = ran_out and judged[at] > LEFT_BEHIND * judged[best] and train[at] < STILL_FELL * train[best]
    apart = judged[at] - train[at] > SLIGHT * abs(judged[at])
    if not too_long and not (apart and kept < HALF * possible) and not _by_heart(case):
        return None
    evidence = losses_of(history, int(epochs[at]))
    evidence.append(("validation loss, untrained", number_text(judged[0], DIGITS)))
    evidence.append(("best validation loss", f"{number_text(judged[best], DIGITS)} in epoch {epochs[best]}"))
    evidence.append(("weights kept", f"those of epoch {fit.best_epoch}"))
    verdict = (
        "High variance: the network has learned its training rows by heart, most of the gain is not there on others"
    )
    if too_long:
        verdict = (
            f"High variance: from epoch {epochs[best]} on the network learned its training rows by heart and other "
            "rows worse"
        )
    change = {"early_stopping": "20"} if too_long else {"l2": _next_penalty(case)}
    return Finding(
        "overfit",
        verdict,
        "network",
        (evidence, cures(case, bias=False)),
        "there are too few different rows for so many free parameters",
        "Get more rows; penalise the weights (l2=…), add Dropout or take fewer units; stop early (early_stopping=20)",
        change,
    )


def _by_heart(case: Case) -> bool:
    """Whether the network tells far more of its training rows than a simple method of rows left out, and of the rows
    that judged less than the linear model.

    An untrained network may be worse than the mean, so that the losses alone would take coming back to it for a gain.
    """
    found = case.yardsticks
    if found is None or found.held is None or found.network_held is None:
        return False
    linear = found.skill(found.linear_held, found.held)
    return found.network - found.best_simple[1] > MORE_THAN_THERE_IS and found.network_held < linear - CLEAR


def _penalty_of(case: Case) -> float:
    fit = case.subject.fit
    return sum(p.strength for p in fit.penalties if isinstance(p, L2)) if fit is not None else 0.0


def _next_penalty(case: Case) -> str:
    return f"{10 * _penalty_of(case) or 0.01:g}"


def cures(case: Case, *, bias: bool) -> Listing:
    """The four cures, those that the evidence speaks for first: the numbers for and against each."""
    history, rows = case.subject.history, len(case.subject.train)
    weights = count_parameters(case.subject.network)
    gap = _gap(case)
    falls = still_falls(history["train_loss"]) if history is not None and "history" in case.has else 0.0
    end = f"train loss would fall {falls:.0%} further" if falls else "train loss falls no more"
    size = f"{weights:,} parameters" + (f" for {rows:,} rows" if rows else "")
    penalty = _penalty_of(case)
    told = {
        "more parameters": (bias and falls < SLIGHT, size),
        "longer training": (bias and falls >= SLIGHT, end),
        "more unique data": (not bias, gap),
        "regularisation": (not bias, f"l2={penalty:g}"),
    }
    kinds = ("more parameters", "longer training"), ("more unique data", "regularisation")
    first, other = kinds if bias else kinds[::-1]
    order = [*sorted(first, key=lambda name: not told[name][0]), *other]
    columns: dict[str, list[Any]] = {
        "cure": order,
        "helps against": ["bias" if name in kinds[0] else "variance" for name in order],
        "evidence": [told[name][1] for name in order],
    }
    return Listing("Four cures, the likeliest first", columns, [""] * 4)


def _gap(case: Case) -> str:
    """The distance of train and validation loss in words."""
    fit, history = case.subject.fit, case.subject.history
    if fit is None or history is None or "validation" not in case.has:
        return "no validation rows, so no gap is known"
    row = history[-1] if fit.ended == "epochs" else next(r for r in history if r["epoch"] == fit.best_epoch)
    gap = row["validation_loss"] - row["train_loss"]
    return f"gap {number_text(gap, 3)} of {number_text(row['validation_loss'], 3)}"


def no_gain(case: Case) -> Finding | None:
    """A network that is clearly worse on the held rows than the linear model."""
    found = case.yardsticks
    if found is None or found.held is None or len(found.held) < 2 or len(case.matrices) < 2:
        return None
    more = found.errors[found.held] - found.linear_held
    mean, error = float(more.mean()), float(more.std()) / np.sqrt(len(more))
    if not mean > SURE * error or mean < NOTHING * found.base(found.held):
        return None
    ours, theirs = found.skill(found.errors[found.held], found.held), found.skill(found.linear_held, found.held)
    facts = Facts([
        ("the network, on validation rows", _share(ours)),
        ("a linear model, on the same rows", _share(theirs)),
        ("difference", f"{ours - theirs:.1%} ± {error / found.base(found.held):.1%}"),
    ])  # fmt: skip
    return Finding(
        "no gain over a linear model",
        f"The hidden layers gain nothing: on validation rows the network tells {ours:.0%} of the target's variance, a "
        f"linear model {theirs:.0%}",
        "network",
        (facts,),
        "what there is to learn is linear, or there are too few rows for more",
        "Take fl.mlp(hidden=()), or a stronger penalty",
    )


__all__ = ["cures", "no_gain", "nothing_told", "overfit", "too_strong", "underfit"]
