"""Checks of how training went: the history of the losses, and where validation parts from training."""

from __future__ import annotations

import numpy as np

from fallline.core.numbers import number_text
from fallline.explain.diagnosis.finding import Case, Check, Finding
from fallline.explain.reports.report import Facts
from fallline.train.history import LARGE_RISE, History

WORSE = 1.2  # times the untrained loss: training has made the network clearly worse than it was
LEFT_BEHIND = 1.25  # times the best validation loss: the run went on long after it
STILL_FELL = 0.8  # times the training loss of that epoch: meanwhile the training rows were learned further
HALF = 0.5  # of the way from the untrained loss to the training loss; a model that generalises goes most of it
SLIGHT = 0.1  # of the validation loss: a smaller gap is no matter, also where next to nothing could be learned
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


def diverged(case: Case) -> Finding | None:
    """The loss ended above that of the untrained network, or was not finite."""
    fit, history = case.subject.fit, case.subject.history
    assert fit is not None
    assert history is not None
    losses = history["train_loss"]
    failed = fit.ended == "failed"
    if not failed and losses[-1] <= WORSE * losses[0]:
        return None
    rate = fit.history["learning_rate"][-1] if "learning_rate" in fit.history else float("nan")
    facts = Facts([
        ("train loss, untrained", number_text(losses[0], DIGITS)),
        ("train loss, last epoch", number_text(losses[-1], DIGITS)),
        ("learning rate", number_text(rate, DIGITS)),
    ])  # fmt: skip
    verdict = f"Training diverged: {fit.reason}" if failed else "Training diverged: it made the network worse"
    limit = 2 / top if (top := case.largest_curvature) else None
    if limit is None or not rate > limit:  # steps on a few rows may diverge below the limit of steps on all of them
        return Finding("learning rate too high", verdict, (facts,), _slower(None))
    facts.append(("gradient descent falls below 2/L_max", number_text(limit, DIGITS)))
    verdict = "Training diverged: the learning rate lies above 2/L_max, so each step ends higher on the other side"
    return Finding("learning rate too high", verdict, (facts,), _slower(limit))


def _slower(limit: float | None) -> str:
    if limit is not None:
        return f"Take a learning rate below {number_text(limit, 3)}, half of it is a good start; or scale the inputs."
    return "Lower the learning rate by a factor of 10, scale the inputs, or clip the gradients with ClipNorm."


def rises(case: Case) -> Finding | None:
    """The training loss rose for three epochs and gave back a good part of what it had gained."""
    history = case.subject.history
    assert history is not None
    if diverged(case) is not None:
        return None
    losses = dict(zip(history["epoch"].astype(int).tolist(), history["train_loss"].tolist(), strict=True))
    first = history["train_loss"][0]
    large = [
        (start, end)
        for start, end in history.rises("train_loss", 3)
        if losses[end] - losses[start] > LARGE_RISE * max(abs(losses[start]), first - losses[start])
    ]
    if not large:
        return None
    shown = [history.rise_text(*rise).partition(":")[0] for rise in large[:3]]
    times = "once" if len(large) == 1 else f"{len(large)} times"
    verdict = f"The training loss rose for three epochs or more, {times}"
    return Finding(
        "loss rises", verdict, tuple(shown), "Lower the learning rate, let it decay, or take larger batches."
    )


def overfit(case: Case) -> Finding | None:
    """The training rows were learned by heart: what was gained on them is not there on the validation rows."""
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
    if not too_long and not (apart and kept < HALF * possible):
        return None
    evidence = losses_of(history, int(epochs[at]))
    evidence.append(("validation loss, untrained", number_text(judged[0], DIGITS)))
    evidence.append(("best validation loss", f"{number_text(judged[best], DIGITS)} in epoch {epochs[best]}"))
    evidence.append(("weights kept", f"those of epoch {fit.best_epoch}"))
    verdict = "The network has learned its training rows by heart: on other rows most of the gain is not there"
    if too_long:
        verdict = f"From epoch {epochs[best]} on the network learned its training rows by heart and other rows worse"
    return Finding("overfit", verdict, (evidence,), CURES_OF_VARIANCE)


CURES_OF_VARIANCE = (
    "Get more rows; penalise the weights (l2=…), add Dropout or take fewer units; stop early (early_stopping=20)."
)

TRAINING = (
    Check("learning rate too high", ("history",), diverged),
    Check("loss rises", ("history",), rises),
    Check("overfit", ("history", "validation"), overfit),
)

__all__ = ["TRAINING", "losses_of"]
