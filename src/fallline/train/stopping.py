"""Stopping rules: records that say when training is over, and the small watchers that they start."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.record import Record, as_record, record, setting
from fallline.train.events import BatchProgress, Ended, EpochEnded, Event, Started, Stop, tell
from fallline.train.metrics import find_column, higher_is_better

Rows = Iterable[dict[str, Any]]


class StoppingRule(Record):
    """When to stop. A rule is configuration; `watch` starts a consumer that applies it to one run."""

    def watch(self, history: Rows = ()) -> Any:
        """A consumer of events. `history` holds the rows of a run that is resumed."""
        raise TypeError(f"{type(self).__name__} must define watch(history)")


class Best:
    """The best epoch so far by one column of the history.

    metric  a column, or a metric's name ("auc" means validation_auc where there is one); NaN is never better,
    and of two equal values the earlier epoch stays
    """

    def __init__(self, metric: str, mode: str = "auto"):
        self.metric = metric
        self.higher = higher_is_better(metric) if mode == "auto" else mode == "max"
        self.best_epoch: int | None = None
        self.best_value = math.nan
        self._column: str | None = None

    def value(self, row: dict[str, Any]) -> float:
        """The watched number of that row, NaN if it has none; ConfigError if no trained epoch has had it yet."""
        self._column = self._column or find_column(self.metric, row)
        if self._column is None and row["epoch"] > 0:
            raise ConfigError(_absent(self.metric, row))
        found = row.get(self._column) if self._column else None
        return math.nan if found is None else float(found)

    def improves(self, value: float, on: float, by: float = 0.0) -> bool:
        """Whether value is better than `on` by more than `by`; anything is better than NaN, NaN than nothing."""
        if math.isnan(value) or math.isnan(on):
            return not math.isnan(value)
        return value > on + by if self.higher else value < on - by

    def note(self, row: dict[str, Any]) -> bool:
        """Takes the row in; whether it beats all before it (its weights are the ones to keep)."""
        value = self.value(row)
        better = self.improves(value, self.best_value)
        if better:
            self.best_epoch, self.best_value = int(row["epoch"]), value
        return better


def _absent(metric: str, row: dict[str, Any]) -> str:
    numbers = [k for k, v in row.items() if isinstance(v, float) and k not in ("seconds", "learning_rate", "direction")]
    hint = "pass validation=0.2, or watch" if metric.startswith("val") else "watch"
    return f"{metric!r} is watched, but the history has no such column: {hint} one of {', '.join(numbers)}"


@record
class EarlyStopping(StoppingRule):
    """Stops when `metric` has not improved by more than `min_delta` for `patience` epochs.

    metric     a column of the history or a metric's name; the weights kept are those of its best epoch, where any
               improvement counts, also one within min_delta
    mode       "auto" knows which way each metric is better; "min" or "max" for a column of your own
    """

    metric: str = "validation_loss"
    patience: int = setting(default=20, at_least=1)
    min_delta: float = setting(default=0.0, at_least=0.0)
    mode: str = setting(default="auto", choices=("auto", "min", "max"))

    def validate(self) -> None:
        if self.mode == "auto":
            _check_metric(self, self.metric)

    def watch(self, history: Rows = ()) -> Patience:
        return Patience(self, history)


class Patience:
    """One run under an EarlyStopping rule: a consumer with the best epoch and the epochs waited since the last gain."""

    def __init__(self, rule: EarlyStopping, history: Rows = ()):
        self.rule = rule
        self.best = Best(rule.metric, rule.mode)
        self._reference = math.nan  # the value that an improvement is measured against
        self._since: int | None = None  # the epoch that set it
        for row in history:
            self.should_stop(row)

    def should_stop(self, row: dict[str, Any]) -> Stop | None:
        """Takes the row in; Stop when patience is at an end. The same row twice counts once."""
        value, epoch = self.best.value(row), int(row["epoch"])
        self.best.note(row)
        if self._since is None or self.best.improves(value, self._reference, self.rule.min_delta):
            self._reference, self._since = value, epoch
        if epoch - self._since < self.rule.patience:
            return None
        return Stop(f"{self.rule.metric.replace('_', ' ')} has not improved for {self.rule.patience} epochs")

    def __call__(self, event: Event) -> Stop | None:
        return self.should_stop(event.row) if isinstance(event, EpochEnded) else None


@record
class TimeLimit(StoppingRule):
    """Stops after that many seconds since training started (a resumed run starts anew), also inside an epoch.

    An epoch that is cut short gets its row in the history all the same, and its weights may be the best.
    """

    seconds: float = setting(above=0.0)

    def watch(self, history: Rows = (), clock: Callable[[], float] = time.monotonic) -> Callable[[Event], Stop | None]:
        start = clock()

        def look(event: Event) -> Stop | None:
            nonlocal start
            if isinstance(event, Started):
                start = clock()
            ended = isinstance(event, (Started, Ended))
            if ended or clock() - start < self.seconds:
                return None
            return Stop(f"the time limit of {self.seconds:g} s is reached")

        return look


@record
class StepLimit(StoppingRule):
    """Stops after that many steps of the optimizer (iterations of a solver), also inside an epoch.

    An epoch that is cut short gets its row in the history all the same, and its weights may be the best.
    """

    steps: int = setting(at_least=1)

    def watch(self, history: Rows = ()) -> Callable[[Event], Stop | None]:
        batches = 1

        def look(event: Event) -> Stop | None:
            nonlocal batches
            done = 0
            if isinstance(event, Started):
                batches = event.batches
            elif isinstance(event, BatchProgress):
                done = (event.epoch - 1) * event.batches + event.batch
            elif isinstance(event, EpochEnded):
                done = int(event.row["epoch"]) * batches
            return None if done < self.steps else Stop(f"the limit of {self.steps} steps is reached")

        return look


@record
class FirstOf(StoppingRule):
    """Stops as soon as one of several rules says so. `fit` makes it of a list of rules.

    An EarlyStopping among them also says by which column the best weights are chosen; there is one at most.
    """

    rules: tuple[StoppingRule, ...]

    def validate(self) -> None:
        object.__setattr__(self, "rules", tuple(as_record(rule, StoppingRule) for rule in self.rules))
        if sum(isinstance(rule, EarlyStopping) for rule in rules_in(self)) > 1:
            raise ConfigError(f"{self!r}: one EarlyStopping is enough, for it says which weights are the best")

    def watch(self, history: Rows = ()) -> Callable[[Event], Stop | None]:
        watching = [rule.watch(history) for rule in self.rules]
        return lambda event: tell(watching, event)


def rules_in(rule: StoppingRule | None) -> tuple[StoppingRule, ...]:
    """The rules that a rule is made of."""
    if isinstance(rule, FirstOf):
        return tuple(part for inner in rule.rules for part in rules_in(inner))
    return () if rule is None else (rule,)


@record
class TargetLoss(StoppingRule):
    """Stops when `metric` is as good as `value` or better."""

    value: float
    metric: str = "train_loss"

    def validate(self) -> None:
        _check_metric(self, self.metric)

    def watch(self, history: Rows = ()) -> Callable[[Event], Stop | None]:
        best = Best(self.metric)

        def look(event: Event) -> Stop | None:
            if not isinstance(event, EpochEnded):
                return None
            found = best.value(event.row)
            if found == self.value or best.improves(found, self.value):
                return Stop(f"{self.metric.replace('_', ' ')} {found:.4g} has reached the target {self.value:g}")
            return None

        return look


def _check_metric(rule: Record, metric: str) -> None:
    try:
        higher_is_better(metric)
    except UnknownNameError as error:
        raise ConfigError(f"{type(rule).__name__}(metric={metric!r}): {str(error).split(': ', 1)[1]}") from None


def as_rule(value: Any) -> StoppingRule | None:
    """The rule that is meant: True is the default EarlyStopping, False and None are none, a number is a patience.

    Of a list, the first rule that says so stops.
    """
    if value is None or value is False:
        return None
    if value is True:
        return EarlyStopping()
    if isinstance(value, int):
        return EarlyStopping(patience=value)
    if isinstance(value, (str, StoppingRule)):
        return as_record(value, StoppingRule)
    if isinstance(value, (list, tuple)):
        rules = [rule for rule in map(as_rule, value) if rule is not None]
        return FirstOf(tuple(rules)) if len(rules) > 1 else next(iter(rules), None)
    raise ConfigError(
        f"early_stopping={value!r}: pass EarlyStopping(patience=20), True, False, a number of epochs, or a list of them"
    )
