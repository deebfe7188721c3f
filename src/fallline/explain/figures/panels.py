"""Panels: what the learning curves of a history show, whoever draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fallline.core.errors import DataError, UnknownNameError
from fallline.explain.figures.plain import BLUE, GREEN, INK, OLIVE, ORANGE, PINK, SKY
from fallline.train.history import History
from fallline.train.metrics import METRICS, metric_label

PARTS = {"train": BLUE, "validation": ORANGE}
OTHERS = (GREEN, PINK, OLIVE, SKY)
LOG_RATIO = 20.0  # a log scale pays when the largest loss is so many times the smallest


class Curve(NamedTuple):
    """One line: what stands at its end, its values by row, its color."""

    label: str
    values: np.ndarray
    color: str

    @property
    def known(self) -> np.ndarray:
        """Where it has a value."""
        return np.isfinite(self.values)

    @property
    def end(self) -> str:
        """What stands at its end: its name and its last value."""
        return f"{self.label} {self.values[self.known][-1]:.3g}".strip()


class Panel(NamedTuple):
    """Curves that share an axis.   title  "loss", "learning rate", or the metrics"""

    title: str
    curves: list[Curve]

    @property
    def numbers(self) -> np.ndarray:
        """All values of all curves."""
        return _finite([curve.values for curve in self.curves])

    @property
    def is_log(self) -> bool:
        """Whether a log scale pays."""
        values = self.numbers
        return bool(values.size and values.min() > 0 and values.max() / LOG_RATIO > values.min())

    @property
    def limits(self) -> tuple[float, float] | None:
        """Limits of an axis of metrics that shows the trained ones, where an untrained one would set the scale."""
        later = _finite([curve.values[1:] for curve in self.curves])
        if self.title in ("loss", "learning rate") or later.size <= 5:
            return None
        low, high = np.sort(later)[later.size // 50], later.max()  # NumPy's percentile loads its masked arrays
        room = max(0.08 * (high - low), 1e-3 * abs(high))
        return (float(low - room), float(high + room)) if self.numbers.min() < low - 2 * (high - low) else None


def _finite(parts: Sequence[np.ndarray]) -> np.ndarray:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return values[np.isfinite(values)]


def panels(history: History) -> list[Panel]:
    """From the top: loss, metrics, and the learning rate where it changes.   DataError for a history without rows"""
    if not len(history):
        raise DataError("the history has no rows: train at least one epoch before plotting")
    losses = [Curve(p, history[f"{p}_loss"], color) for p, color in PARTS.items() if f"{p}_loss" in history]
    found = [Panel("loss", [c for c in losses if c.known.any()] or losses)]
    title, metrics = _metrics(history)
    if metrics:
        found.append(Panel(title, metrics))
    if "learning_rate" in history:
        rate = Curve("", history["learning_rate"], INK)
        known = rate.values[rate.known]
        if known.size and known.min() < known.max():
            found.append(Panel("learning rate", [rate]))
    return found


def _metrics(history: History) -> tuple[str, list[Curve]]:
    """Title and up to four metrics of one direction (the rising ones if there are any), of validation if known."""
    by_part = {part: [name for name in METRICS if f"{part}{name}" in history] for part in ("validation_", "train_", "")}
    part = next((p for p, names in by_part.items() if names), "")
    rising = [n for n in by_part[part] if METRICS[n].better == "higher"]
    chosen = (rising or [n for n in by_part[part] if n not in ("log_loss", "mse")])[:4]
    curves = [Curve(metric_label(n), history[part + n], OTHERS[i]) for i, n in enumerate(chosen)]
    return part.replace("_", " ") + (curves[0].label if len(curves) == 1 else "metrics"), curves


def best_row(history: History) -> dict[str, Any] | None:
    """The row of the best epoch; None where no loss is known."""
    try:
        return history.best()
    except (DataError, UnknownNameError):
        return None


def best_words(history: History, best: dict[str, Any]) -> str:
    """The best epoch in words."""
    name = "validation" if "validation_loss" in history else "train"
    return f"best epoch {best['epoch']}: {name} loss {best[f'{name}_loss']:.4g}"


__all__ = ["Curve", "Panel", "best_row", "best_words", "panels"]
