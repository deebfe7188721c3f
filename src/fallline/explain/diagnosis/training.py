"""Checks of how training went: steps that were too long or too short, losses that rose, an end that came too early."""

from __future__ import annotations

import numpy as np

from fallline.core.numbers import number_text
from fallline.explain.diagnosis.case import Case
from fallline.explain.diagnosis.finding import Finding
from fallline.explain.reports.report import Facts
from fallline.optim.solver import Solver
from fallline.train.history import History

WORSE = 1.2  # times the untrained loss: training has made the network clearly worse than it was
BOUNCES = 0.1  # of all that was gained: the median move from one epoch to the next, of a loss that jumps up and down
JUMP = 0.05  # of the untrained loss: smaller moves are the noise of batches and dropout, and do no harm
TURNS = 0.4  # of the moves go the other way than the one before
FEWEST_EPOCHS = 6  # for a loss that jumps to be no accident
STILL = 0.2  # of the fall so far is still to come: the run ended too early
WINDOWS = 3  # of the last half of the losses, whose means tell how the fall goes on
FEWEST_LEFT = 0.9  # at most of a fall is what comes after it: a slower decay cannot be told from a straight line
STRAIGHT = 0.8  # cosine of two epochs' moves: a longer step would have gone the same way
MANY_EPOCHS = 10  # of straight moves: the first ones always go downhill
MOST = 0.5  # of the fall so far: less than that to come does not close a gap to what simple methods tell
SURE = 2.0  # standard errors
DIGITS = 4


def losses_of(history: History, epoch: int) -> Facts:
    """Train loss, validation loss and their gap at an epoch."""
    row = next(row for row in history if row["epoch"] == epoch)
    train, judged = row["train_loss"], row["validation_loss"]
    return Facts([
        ("epoch", str(epoch)),
        ("train loss", number_text(train, DIGITS)),
        ("validation loss", number_text(judged, DIGITS)),
        ("gap", number_text(judged - train, DIGITS)),
    ])  # fmt: skip


def still_falls(losses: np.ndarray) -> float:
    """How much of the fall so far is still to come, if it goes on as in the last half: 0 where it has ended.

    The means of the last three windows fall by f1 and then f2; with r = f2 / f1 (at most 0.9) f2 r / (1 - r) comes,
    and of a loss that is positive not more than there is of it. A fall within the noise of the epochs is none; the
    noise is that of their second differences, in which an even fall cancels, where there are enough of them.
    """
    width = max(1, (len(losses) - 1) // (2 * WINDOWS))
    last = losses[-WINDOWS * width :]
    if len(losses) <= WINDOWS or not np.isfinite(last).all():
        return 0.0
    first, second, third = (float(part.mean()) for part in np.split(last, WINDOWS))
    before, fall, gained = first - second, second - third, float(losses[0]) - third
    noise = float(np.sqrt((np.diff(last, 2) ** 2).mean() / 6))
    if fall <= (SURE * noise * np.sqrt(2 / width) if width >= WINDOWS else 0.0):
        return 0.0
    ratio = min(fall / before, FEWEST_LEFT) if before > 0 else FEWEST_LEFT
    left = fall * ratio / (1 - ratio)
    left = min(left, third) if third > 0 else left
    return left / gained if gained > 0 else 1.0


def too_fast(case: Case) -> Finding | None:
    """Steps that were too long: the loss ended above that of the untrained network, or jumped up and down."""
    fit, history = case.subject.fit, case.subject.history
    assert fit is not None
    assert history is not None
    losses, failed = history["train_loss"], fit.ended == "failed"
    diverged = failed or losses[-1] > WORSE * losses[0]
    bounce = 0.0 if diverged else _bounce(losses)
    thrown = not diverged and _thrown(case, losses)
    if isinstance(fit.optimizer, Solver) or not (diverged or thrown or bounce > BOUNCES):
        return None
    rate = history["learning_rate"][-1] if "learning_rate" in history else float("nan")
    facts = Facts([
        ("train loss, untrained", number_text(losses[0], DIGITS)),
        ("train loss, highest", number_text(np.nanmax(losses), DIGITS)),
        ("train loss, last epoch", number_text(losses[-1], DIGITS)),
        ("learning rate", number_text(rate, DIGITS)),
    ])  # fmt: skip
    if not diverged:
        facts.append(("move from epoch to epoch, late", f"{bounce:.0%} of all that was gained"))
        verdict = "The train loss jumps up and down instead of falling"
        if thrown:
            verdict = "The first steps threw the network away: the train loss rose far above the untrained one's"
        return _finding(verdict, facts, rate, None)
    verdict = f"Training diverged: {fit.reason}" if failed else "Training diverged: it made the network worse"
    limit = 2 / top if (top := case.largest_curvature) else None
    if limit is None or not rate > limit:  # steps on a few rows may diverge below the limit of steps on all of them
        return _finding(verdict, facts, rate, None)
    facts.append(("gradient descent falls below 2/L_max", number_text(limit, DIGITS)))
    verdict = "Training diverged: the learning rate lies above 2/L_max, so each step ends higher on the other side"
    return _finding(verdict, facts, rate, limit)


def _finding(verdict: str, facts: Facts, rate: float, limit: float | None) -> Finding:
    new = limit / 2 if limit is not None else rate / 10
    cure = "Lower the learning rate by a factor of 10, scale the inputs, or clip the gradients with ClipNorm"
    if limit is not None:
        cure = f"Take a learning rate below {number_text(limit, 3)}, half of it is a good start; or scale the inputs"
    change = {"learning_rate": f"{new:.3g}"} if np.isfinite(new) else {}
    return Finding("learning rate too high", verdict, "training", (facts,), "steps are longer than the valley is wide",
                   cure, change)  # fmt: skip


def _bounce(losses: np.ndarray) -> float:
    """The median move between epochs of the second half, in parts of all that was gained; 0 where it seldom turns."""
    half = losses[len(losses) // 2 :]
    moves, gained = np.diff(half), float(losses[0] - losses.min())
    turns = int((moves[1:] * moves[:-1] < 0).sum())
    if len(losses) <= FEWEST_EPOCHS or turns < TURNS * (len(moves) - 1) or gained <= 0:
        return 0.0
    sizes = np.sort(np.abs(moves))
    move = float(sizes[(len(sizes) - 1) // 2] + sizes[len(sizes) // 2]) / 2  # median: of one spike it is none
    return move / gained if move > JUMP * abs(losses[0]) else 0.0


def _thrown(case: Case, losses: np.ndarray) -> bool:
    """Whether early steps left the network worse, and it never came as far as a simple method."""
    early = losses[1 : max(2, len(losses) // 2)]
    return bool(early.max(initial=-np.inf) > WORSE * losses[0]) and (case.suffers or case.is_stuck)


def rises(case: Case) -> Finding | None:
    """The training loss rose for three epochs and gave back a good part of what it had gained."""
    history, large = case.subject.history, case.large_rises
    assert history is not None
    if not large:
        return None
    shown = [history.rise_text(*rise).partition(":")[0] for rise in large[:3]]
    times = "once" if len(large) == 1 else f"{len(large)} times"
    verdict = f"The train loss rose for three epochs or more, {times}"
    where = f"epochs {large[0][0]} to {large[0][1]}"
    rate = history["learning_rate"][-1] if "learning_rate" in history else float("nan")
    change = {"learning_rate": f"{rate / 3:.3g}"} if np.isfinite(rate) else {}
    cure = "Lower the learning rate, let it decay, or take larger batches"
    return Finding(
        "loss rises", verdict, where, tuple(shown), "steps that are too long, late in training", cure, change
    )


def too_slow(case: Case) -> Finding | None:
    """The run ended though the loss still fell: steps that were too short, or too few."""
    fit, history = case.subject.fit, case.subject.history
    assert fit is not None
    assert history is not None
    if fit.ended != "epochs" or isinstance(fit.optimizer, Solver):
        return None
    left = still_falls(history["validation_loss" if "validation" in case.has else "train_loss"])
    losses, epochs, straight = history["train_loss"], int(history[-1]["epoch"]), _straight(history)
    if left <= STILL or (left <= MOST and epochs >= MANY_EPOCHS and case.behind is not None):
        return None
    rate = history["learning_rate"][-1] if "learning_rate" in history else float("nan")
    more = f"{min(left, 9.99):.0%} of the fall so far"
    facts = Facts([
        ("train loss, untrained", number_text(losses[0], DIGITS)),
        ("train loss, last epoch", number_text(losses[-1], DIGITS)),
        ("still to come, as it goes on", more),
        ("learning rate", number_text(rate, DIGITS)),
        ("cosine of one epoch's move to the next", number_text(straight, 3)),
    ])  # fmt: skip
    if straight > STRAIGHT and np.isfinite(rate) and epochs >= MANY_EPOCHS:
        return Finding(
            "learning rate too low",
            f"The loss still falls after {epochs} epochs, and every epoch moves the weights the same way",
            "training",
            (facts,),
            "the steps are far shorter than they could be",
            "Raise the learning rate by a factor of 10 (fl.find_learning_rate finds one), or train longer",
            {"learning_rate": f"{10 * rate:.3g}"},
        )
    return Finding(
        "stopped too early",
        f"The loss still falls after {epochs} epochs: {more} is still to come",
        "training",
        (facts,),
        "the run had too few epochs",
        "Train longer, and let early stopping find the end",
        {"epochs": str(3 * epochs), "early_stopping": "20"},
    )


def _straight(history: History) -> float:
    """The mean cosine between the moves of neighbouring epochs, over the second half; 0 where it is not known."""
    turns = history["direction"][len(history) // 2 :] if "direction" in history else np.zeros(1)
    return float(np.nanmean(turns)) if np.isfinite(turns).any() else 0.0


__all__ = ["losses_of", "rises", "still_falls", "too_fast", "too_slow"]
