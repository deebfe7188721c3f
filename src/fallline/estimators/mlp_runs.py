"""The runs of a perceptron: the one training loop, with scikit-learn's penalty, means, order of rows and endings."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fallline.core.errors import NonFiniteError
from fallline.core.tree import leaves, map_leaves
from fallline.core.warn import warn_user
from fallline.estimators import mlp_settings as settings
from fallline.estimators.mlp_training import Convergence, Orders, Pace, poisson_offset
from fallline.losses.penalties import L2
from fallline.optim.optimizer import Optimizer
from fallline.train.examples import Examples, drop_absent
from fallline.train.stepping import Stepping
from fallline.train.stopping import EarlyStopping
from fallline.train.trainer import Fit, Trainer
from fallline.train.variants import several

T = TypeVar("T")
ENDLESS = 2**62  # epochs: the patience of a rule that only says which weights are the best
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


@dataclass
class Progress:
    """Where the optimizer stands, for partial_fit to go on from.

    arrays  the optimizer's, in their order;  steps  that were taken;  pace  what the rate of "sgd" follows, or None
    """

    optimizer: Optimizer
    arrays: list[np.ndarray]
    steps: int
    pace: Pace | None

    @property
    def learning_rate(self) -> Any:
        """The present rate."""
        return self.optimizer.learning_rate if self.pace is None else self.pace.learning_rate


@dataclass
class Going:
    """The trainer that partial_fit keeps, and what it was made for: while that stays, nothing is built anew."""

    trainer: Trainer
    way: Stepping  # of the trainer
    watch: Convergence
    made_for: tuple[Any, ...]


def train_on(owner: Any, rows: Examples, judged: Examples | None) -> None:
    """Trains the owner's model on these rows from its present weights, with a new optimizer."""
    batch = _batch_rows(owner, len(rows))
    pace = settings.pace_of(owner, _factor(owner, rows))
    optimizer = settings.minimizer_of(owner, _factor(owner, rows), pace)
    judged = judged if isinstance(optimizer, Optimizer) else None
    watch = _watch(owner, rows, judged, pace, optimizer)
    order = Orders(len(rows), batch, owner.shuffle, owner._random_state)
    trainer = _trainer(owner, rows, judged, optimizer, watch, batch, order)
    vars(owner).pop("_going", None)
    fit = _run(owner, trainer.run, watch)
    if fit is not None:
        _judge_end(owner, fit.ended, fit.reason, watch)
        owner.history_ = fit.history
        if watch.best is None or watch.improved:
            owner._take(leaves(fit.model.network))
        _say_if_cut_short(owner, fit, watch)
    if isinstance(trainer.way, Stepping) and not trainer.way.failure:
        owner._optimizer = _progress(trainer.way, pace)


def go_on(owner: Any, rows: Examples) -> None:
    """One epoch on these rows, from the owner's present weights and where its optimizer stands."""
    batch = _batch_rows(owner, len(rows))
    going = _going(owner, rows, batch)
    trainer, way, watch = going.trainer, going.way, going.watch
    watch.n_rows, watch.before = len(rows), way.place.epoch
    watch.offset = _offset(owner, rows)
    owner.model_ = owner._synced()
    arrays, step = leaves(owner.model_.network), way.step
    start = [arrays[path].astype(rows.w.dtype) for path in (*step.params, *step.buffers)]
    order = Orders(len(rows), batch, owner.shuffle, owner._random_state)
    ending = _run(owner, lambda: trainer.go_on(rows, start, batch, order), watch)
    if ending is None:
        return
    _judge_end(owner, *ending, watch)
    for path, found in zip((*step.params, *step.buffers), way.place.carry, strict=False):
        np.copyto(arrays[path], found)
    owner._show_arrays()
    owner._optimizer = _progress(way, way.optimizer.schedule)


def _going(owner: Any, rows: Examples, batch: int) -> Going:
    """The trainer of the last call, while it serves; else a new one, with what the optimizer remembers."""
    made_for = (owner.model_.loss, owner.alpha, rows.w.dtype, owner.engine, owner.n_jobs, owner.precision)
    kept = getattr(owner, "_going", None)
    if kept is not None and kept.made_for == made_for:
        return kept
    progress = getattr(owner, "_optimizer", None)
    pace = settings.pace_of(owner, _factor(owner, rows)) if progress is None else progress.pace
    optimizer = settings.minimizer_of(owner, _factor(owner, rows), pace) if progress is None else progress.optimizer
    watch = _watch(owner, rows, None, pace, optimizer)
    watch.stops = False
    trainer = _trainer(owner, rows, None, optimizer, watch, batch, True)
    assert isinstance(trainer.way, Stepping)
    if progress is not None:
        n = len(leaves(owner.model_.network))
        trainer.way.place.carry = [
            *list(trainer.way.place.carry)[:n],
            *(array.astype(rows.w.dtype) for array in progress.arrays),
        ]
        trainer.way.steps_done = progress.steps
    owner._going = Going(trainer, trainer.way, watch, made_for)
    return owner._going


def _batch_rows(owner: Any, n: int) -> int:
    batch = settings.batch_rows(owner, n)
    if owner.batch_size not in ("auto", batch):
        warn_user(f"batch_size={owner.batch_size} is more than the {n} rows: It is going to be clipped to them")
    return batch


def _factor(owner: Any, rows: Examples) -> float:
    return settings.factor_of(owner, 1 if rows.y.ndim == 1 else rows.y.shape[1], owner._kind)


def _offset(owner: Any, rows: Examples) -> float:
    return poisson_offset(rows.y, rows.w) if owner.loss == "poisson" else 0.0


def _watch(owner: Any, rows: Examples, judged: Examples | None, pace: Pace | None, optimizer: Any) -> Convergence:
    factor = 0.5 if owner.loss == "squared_error" else _factor(owner, rows)  # it reports a mean over outputs
    return Convergence(
        owner, len(rows), factor=factor, offset=_offset(owner, rows),
        metric="" if judged is None else f"validation_{owner._metric().name}",
        stops=judged is None or bool(owner.early_stopping), pace=pace if isinstance(pace, Pace) else None,
        max_fun=None if isinstance(optimizer, Optimizer) else owner.max_fun,
    )  # fmt: skip


def _trainer(
    owner: Any, rows: Examples, judged: Examples | None, optimizer: Any, watch: Convergence, batch: int, order: Any
) -> Trainer:
    steps = isinstance(optimizer, Optimizer)
    total = 1.0 if steps else float(rows.w.sum(dtype=np.float64))
    network = owner._synced().network
    trained = map_leaves(lambda _, leaf: leaf.astype(rows.w.dtype) if leaf.dtype.kind == "f" else leaf, network)
    return Trainer(
        replace(owner.model_, network=trained),
        optimizer,
        rows if steps else drop_absent(rows),
        judged,
        (L2(owner.alpha / (_factor(owner, rows) * total)),) if owner.alpha else (),
        epochs=int(owner.max_iter),
        batch_size=batch,
        shuffle=order,
        seed=int(copy.deepcopy(owner._random_state).randint(2**31)),
        early_stopping=None if watch.best is None else EarlyStopping(watch.best.metric, patience=ENDLESS),
        consumers=[watch, *several(owner.callbacks)],
        engine=settings.engine_of(owner),
        judges_start=False,
        own_means=True,
    )


def _run(owner: Any, run: Callable[[], T], watch: Convergence) -> T | None:
    """What a run gives; None where its first epoch was interrupted, or failed."""
    try:
        return run()
    except KeyboardInterrupt:
        warn_user("Training interrupted by user.")
        return None
    except NonFiniteError as error:
        _fail(owner, str(error), watch)
        return None


def _judge_end(owner: Any, ended: str, reason: str, watch: Convergence) -> None:
    if ended == "failed":
        _fail(owner, reason, watch)
    elif ended == "interrupted":
        warn_user("Training interrupted by user.")


def _fail(owner: Any, reason: str, watch: Convergence) -> None:
    """ValueError for weights that are no numbers; with validation rows the best ones stand, as in scikit-learn."""
    vars(owner).pop("_going", None)  # the next call starts from the optimizer as it stood before this one
    if watch.best is None:
        raise ValueError(f"{NOT_FINITE} ({reason})")
    watch.note_score(float("nan"), float("nan"))
    owner.loss_ = float("nan")
    owner.loss_curve_.append(owner.loss_)
    owner.n_iter_ += 1


def _say_if_cut_short(owner: Any, fit: Fit, watch: Convergence) -> None:
    """ConvergenceWarning where max_iter or max_fun ended training."""
    if watch.max_fun is None:
        if fit.ended == "epochs":
            words = f"Stochastic Optimizer: Maximum iterations ({owner.max_iter}) reached and the optimization hasn't"
            warn_user(f"{words} converged yet.", ConvergenceWarning)
        return
    name = "max_iter" if fit.ended == "epochs" else "max_fun" if watch.ran_out else ""
    if name:
        words = f"{owner.solver} failed to converge after {owner.n_iter_} iteration(s): {name}={getattr(owner, name)}"
        cure = f"Increase {name}, or scale the data (sklearn.preprocessing.StandardScaler)"
        warn_user(f"{words} is reached. {cure}", ConvergenceWarning)


def _progress(way: Stepping, pace: Any) -> Progress:
    n = len(way.step.params) + len(way.step.buffers)
    arrays = list(way.place.carry)[n:]
    return Progress(way.optimizer, arrays, way.steps_done, pace if isinstance(pace, Pace) else None)


__all__ = ["Going", "Progress", "go_on", "train_on"]
