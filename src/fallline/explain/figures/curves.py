"""Learning curves as SVG text, in the look of the other pictures.

`fallline train` draws them so: to load matplotlib takes longer than to train a small network.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fallline.explain.figures.panels import Curve, Panel, best_row, best_words, panels
from fallline.explain.figures.plain import FAINT, INK, LINE, TEXT, WIDTH, number_label, spread
from fallline.train.history import History

UNIT = 100.0  # of the picture in an inch
POINT = UNIT / 72
LARGE, SMALL = TEXT * POINT, (TEXT - 1) * POINT  # heights of letters
CHARACTER = 0.64  # width of a letter in its height, in the mean of a word: no usual face without serifs has more
LEFT, TOP, GAP, BOTTOM = 80.0, 42.0, 52.0, 56.0  # around the panels, and between them
HEIGHTS = {"loss": 270.0, "learning rate": 95.0}  # of panels
HEIGHT = 185.0  # of the others
LABEL_GAP = 1.25  # distance of two labels in lines of text
ROOM = 0.05  # around the values, in parts of their range
MOST = 1e300  # what lies beyond is drawn there
FACES = "'DejaVu Sans', Verdana, 'Segoe UI', Helvetica, Arial, sans-serif"


class Axis(NamedTuple):
    """Where numbers lie: from low, at start, to high, at end; by their logarithms where `is_log`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, values: Any) -> np.ndarray:
        """Their places."""
        values, low, high = np.asarray(values, np.float64), self.low, self.high
        if self.is_log:
            values, low, high = np.log10(values), math.log10(low), math.log10(high)
        return self.start + (values - low) / (high - low) * (self.end - self.start)


def curves_svg(history: History) -> str:
    """Losses over epochs with the best epoch marked; below them the metrics and, where it changes, the learning rate.

    The same as `History.plot`, as the text of an SVG file.   DataError for a history without rows
    """
    shown, epochs, best = panels(history), history["epoch"], best_row(history)
    ends = [curve.end for panel in shown for curve in panel.curves if curve.known.any()]
    right = WIDTH * UNIT - 24 - CHARACTER * LARGE * max(map(len, ends), default=0)
    low, high = float(epochs.min()), float(epochs.max())
    room = max(0.02 * (high - low), 0.1)
    x = Axis(low - room, high + room, LEFT, right)
    top = TOP
    parts: list[str] = []
    for panel in shown:
        bottom = top + HEIGHTS.get(panel.title, HEIGHT)
        parts += _panel(panel, x, _axis(panel, bottom, top), epochs, best)
        top = bottom + GAP
    bottom = top - GAP
    parts += _epochs(x, bottom)
    if best is not None:
        parts.append(_said_best(best_words(history, best), x, float(x.at(best["epoch"]))))
    return _document("".join(f"{part}\n" for part in parts), bottom + BOTTOM)


def _document(body: str, height: float) -> str:
    size = f'width="{WIDTH * UNIT:.0f}" height="{height:.0f}" viewBox="0 0 {WIDTH * UNIT:.0f} {height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FACES}" font-size="{SMALL:.1f}" fill="{INK}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}</svg>\n'
    )


def _axis(panel: Panel, bottom: float, top: float) -> Axis:
    """The vertical axis of a panel, which runs upwards."""
    values = panel.numbers.clip(-MOST, MOST)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if panel.is_log:
        room = (high / low) ** ROOM
        return Axis(low / room, high * room, bottom, top, is_log=True)
    if panel.limits is not None:
        return Axis(panel.limits[0], panel.limits[1], bottom, top)
    room = ROOM * (high - low) or 0.5 * abs(high) or 0.5
    return Axis(low - room, high + room, bottom, top)


def _panel(panel: Panel, x: Axis, y: Axis, epochs: np.ndarray, best: dict[str, Any] | None) -> Iterator[str]:
    """Its name, axes and ticks; the best epoch, dashed; the curves, and what stands at their ends."""
    yield f'<text x="{x.start:.1f}" y="{y.end - 9:.1f}" font-size="{LARGE:.1f}" font-weight="bold">{panel.title}</text>'
    for tick in log_ticks(y.low, y.high) if y.is_log else round_ticks(y.low, y.high, 6 if panel.title == "loss" else 4):
        at = float(y.at(tick))
        yield _line(x.start, at, x.end, at, FAINT, 0.6)
        yield _line(x.start - 4, at, x.start, at, INK, 0.7)
        yield _text(number_label(tick, 6), x.start - 8, at + 0.35 * SMALL, "end")
    yield _line(x.start, y.end, x.start, y.start, INK, 0.7)
    yield _line(x.start, y.start, x.end, y.start, INK, 0.7)
    if best is not None:
        at = float(x.at(best["epoch"]))
        yield _line(at, y.end, at, y.start, INK, 0.7, ' stroke-dasharray="5 4"')
    # An inner picture cuts off what lies outside the axes.
    yield f'<svg x="{x.start:.1f}" y="{y.end:.1f}" width="{x.end - x.start:.1f}" height="{y.start - y.end:.1f}">'
    inside = y._replace(start=y.start - y.end, end=0.0)
    yield from (_curve(curve, x._replace(start=0.0, end=x.end - x.start), inside, epochs) for curve in panel.curves)
    yield "</svg>"
    for curve in panel.curves:
        marked = np.flatnonzero(curve.known & (epochs == best["epoch"]))[:1] if best and curve.label else ()
        for value in (float(curve.values[k]) for k in marked):
            if y.low <= value <= y.high:
                yield _dot(at, float(y.at(value)), curve.color, 3.6, ' stroke="white"')
    yield from _ends(panel.curves, x, y)


def _curve(curve: Curve, x: Axis, y: Axis, epochs: np.ndarray) -> str:
    """A line through its values, with gaps where there are none, and dots where both neighbours are missing."""
    known = curve.known
    runs = np.split(np.flatnonzero(known), 1 + np.flatnonzero(np.diff(np.flatnonzero(known)) > 1))
    across, up = x.at(epochs), y.at(np.where(known, curve.values, y.low))
    path = " ".join("M" + " ".join(f"{across[k]:.1f},{up[k]:.1f}" for k in run) for run in runs if len(run) > 1)
    alone = "".join(_dot(across[run[0]], up[run[0]], curve.color, 2.8) for run in runs if len(run) == 1)
    style = f'fill="none" stroke="{curve.color}" stroke-width="{LINE * POINT:.2f}" stroke-linejoin="round"'
    return (f'<path d="{path}" {style}/>' if path else "") + alone


def _ends(curves: Sequence[Curve], x: Axis, y: Axis) -> Iterator[str]:
    """The name and last value of each curve at its end, in its color, moved apart where they would overlap."""
    last = [(float(y.at(curve.values[curve.known][-1])), curve) for curve in curves if curve.known.any()]
    last.sort(key=lambda end: end[0])
    places = spread([at for at, _ in last], LABEL_GAP * LARGE, y.end, y.start)
    for at, (_, curve) in zip(places, last, strict=True):
        yield _text(curve.end, x.end + 8, at + 0.35 * LARGE, "start", f' font-size="{LARGE:.1f}" fill="{curve.color}"')


def _epochs(x: Axis, bottom: float) -> Iterator[str]:
    """The ticks below the last panel, and their name."""
    for tick in round_ticks(x.low, x.high, 8, whole=True):
        at = float(x.at(tick))
        yield _line(at, bottom, at, bottom + 4, INK, 0.7)
        yield _text(f"{tick:.0f}", at, bottom + 8 + SMALL, "middle")
    yield _text("epoch", (x.start + x.end) / 2, bottom + 16 + SMALL + LARGE, "middle", f' font-size="{LARGE:.1f}"')


def _said_best(words: str, x: Axis, at: float) -> str:
    """The best epoch in words, above the dashed line and beside the panel's name."""
    share = (at - x.start) / (x.end - x.start)
    anchor = "middle" if 0.4 < share < 0.7 else ("start" if share <= 0.4 else "end")
    return _text(words, max(at, x.start + 0.1 * (x.end - x.start)), TOP - 9, anchor)


def round_ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """At most `most` steps of 1, 2 or 5 times a power of ten between two numbers, or of whole numbers alone."""
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= least * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers; up to three decades also twice and five times those."""
    first, last = math.log10(low), math.log10(high)
    powers = range(math.floor(first), math.ceil(last) + 1, 1 + int((last - first) / 8))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    return [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]


def _line(x0: float, y0: float, x1: float, y1: float, color: str, width: float, more: str = "") -> str:
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{color}" '
        f'stroke-width="{width * POINT:.2f}"{more}/>'
    )


def _text(words: str, x: float, y: float, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{html.escape(words)}</text>'


def _dot(x: float, y: float, color: str, radius: float, more: str = "") -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}"{more}/>'


__all__ = ["curves_svg", "log_ticks", "round_ticks"]
