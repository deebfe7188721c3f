"""The preset "plain": one network, early-stopped on rows that are kept back, as `fallline train` trains it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.listing import Listing
from fallline.core.tree import leaves, records_in, with_leaves
from fallline.data.split import split_rows
from fallline.engines.engine import Engine
from fallline.estimators.targets import Task
from fallline.losses.penalties import L2
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.layer import Layer, count_parameters
from fallline.train.events import Consumer
from fallline.train.examples import Examples, drop_absent
from fallline.train.fit import batch_rows, start_model
from fallline.train.judging import Judging
from fallline.train.model import Model, score_rows
from fallline.train.stopping import EarlyStopping, FirstOf, StoppingRule, TimeLimit
from fallline.train.tabular import PRIOR, TableOptions, tabular_network
from fallline.train.trail import parted
from fallline.train.trainer import Fit, Trainer

_FEW, _MOST_KEPT = 5000, 50_000_000  # rows that judge; numbers of all epochs
FEWEST_ROWS = 20  # of fewer none are kept back: all train, for all epochs


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    network  filled;  seconds  it took;  members  what was trained
    rows     of the examples, which no training saw when it scored them;  scores  theirs, float64 (rows, …)
    held     examples of their own in place of such rows, where they were given
    """

    network: Layer
    rows: np.ndarray
    scores: np.ndarray
    members: Listing | None
    seconds: float
    fit: Fit | None = None
    held: Examples | None = None


def train_plain(
    examples: Examples,
    task: Task,
    *,
    options: TableOptions,
    validation: float | Examples = 0.2,
    metric: str | None = None,
    engine: Engine,
    consumers: Sequence[Consumer] = (),
) -> Trained:
    """One network; a share of the rows (or rows of their own) says when to stop, and scores what it has not learned.

    examples    weights of any size: the strength of the default penalty counts rows by their weight
    validation  0 trains on all rows for all epochs, and leaves no rows that no training saw
    """
    start = time.perf_counter()
    held = validation if isinstance(validation, Examples) else None
    kept = np.zeros(0, np.int64) if isinstance(validation, Examples) else held_back(examples, task, validation, options)
    train = examples.take(np.setdiff1d(np.arange(len(examples)), kept)) if len(kept) else examples
    judged = held if held is not None else examples.take(kept) if len(kept) else None
    strength = penalty_of(train, options)
    model = _untrained(examples, task, options, engine)
    crossed = judged is not None and metric is None and _is_small(model, options.epochs, judged)
    trainer = Trainer(
        model=model,
        optimizer=options.made_optimizer(),
        train=drop_absent(train),
        validation=judged,
        penalties=(L2(strength),) if strength else (),
        epochs=options.epochs,
        batch_size=batch_rows(options.batch_size, len(train)),
        seed=options.seed,
        early_stopping=_rule(options, metric, judged is not None),
        engine=engine,
        consumers=tuple(consumers),
        keep_path=crossed,
    )
    fit = trainer.run()
    scores = np.zeros(0) if judged is None else score_rows(fit.model.network, judged.x, engine.name)
    if judged is not None and crossed:
        scores = crossed_scores(fit, judged, engine, options.seed)
    seconds = time.perf_counter() - start
    return Trained(fit.model.network, kept, scores.astype(np.float64), None, seconds, fit, held)


def crossed_scores(fit: Fit, judged: Examples, engine: Engine, seed: int) -> np.ndarray:
    """The scores of the rows that judge, of each half by the epoch that is best for the other half.

    The kept epoch is the best one for all of them, so that it flatters them: intervals would come out too narrow.
    """
    network, loss = fit.model.network, fit.model.loss
    judging, params = Judging(network, loss, judged, engine), leaves(network, "param")
    scores, losses = [], []
    for weights in fit.path if fit.path is not None else ():
        found = judging.look(leaves(with_leaves(network, parted(weights, params))))
        assert found is not None  # nothing stops it
        scores.append(found.scores)
        losses.append(np.asarray(loss(found.scores, judged.y), dtype=np.float64) * judged.w)
    half = np.random.default_rng(seed).permutation(len(judged)) % 2 == 0
    made = np.empty_like(scores[0])
    for rows in (half, ~half):
        made[rows] = scores[int(np.argmin([each[~rows].sum() for each in losses]))][rows]
    return made


def _is_small(model: Model, epochs: int, judged: Examples) -> bool:
    """Whether the weights of every epoch may be kept, and so few rows judge that their choice of one matters."""
    return len(judged) <= _FEW and count_parameters(model.network) * epochs <= _MOST_KEPT


def penalty_of(train: Examples, options: TableOptions) -> float:
    """The strength of L2: given, or λ / m, where a weight of 2 counts as two rows of the m."""
    if options.l2 is not None:
        return options.l2
    return PRIOR / max(float(train.w.sum(dtype=np.float64)), len(train))


def held_back(examples: Examples, task: Task, validation: float, options: TableOptions) -> np.ndarray:
    """The rows that judge: none where there are too few, else a share with each class (and no group in both parts)."""
    if not isinstance(validation, (int, float, np.number)) or isinstance(validation, bool):
        raise ConfigError(f"validation={validation!r}: give a share of the rows, a number of rows, or (X, y)")
    if not validation or len(examples) < FEWEST_ROWS:
        return np.zeros(0, np.int64)
    ways = {"groups": task.groups} if task.groups is not None else {"y": task.codes}
    return split_rows(len(examples), validation=validation, test=0, seed=options.seed, **ways).validation


def _untrained(examples: Examples, task: Task, options: TableOptions, engine: Engine) -> Model:
    """The model before training, whose last Dense says the best constant of every row (see `Task.start`)."""
    network = tabular_network(task.columns, options, task.n_scores)
    if task.output is not None:
        network = Sequential(*network.layers, task.output)
    model = start_model(network, examples, task.loss, task.target, engine.name, options.seed)
    paths = [path for path, part in records_in(model.network) if isinstance(part, Dense) and part.b is not None]
    if not task.start or not paths:
        return model
    bias = f"{paths[-1]}.b"
    made = np.asarray(task.start, leaves(model.network)[bias].dtype)
    return replace(model, network=with_leaves(model.network, {bias: made}))


def _rule(options: TableOptions, metric: str | None, judges: bool) -> StoppingRule | None:
    """When to stop: by the validation rows, by the clock, or never."""
    rules: list[StoppingRule] = []
    if judges:
        rules.append(EarlyStopping(metric=f"validation_{metric or 'loss'}", patience=options.patience))
    elif metric is not None:
        raise ConfigError(f"metric={metric!r} needs rows to be kept back: give validation=0.2, or more rows")
    if options.time_limit is not None:
        rules.append(TimeLimit(options.time_limit))
    return FirstOf(tuple(rules)) if rules else None
