"""What the tests of all pictures share: the texts of a figure, where they lie, and lines by color."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import numpy as np

from fallline.explain.figures.figure import look

_LAID_OUT: WeakSet[Any] = WeakSet()  # figures, which nobody changes after that: it takes most of the time


def texts_of(figure: Any) -> list[Any]:
    """Every text that is drawn: words, titles, names of axes, ticks inside the limits, legends."""
    if figure not in _LAID_OUT:
        with look():
            figure.draw_without_rendering()
        _LAID_OUT.add(figure)
    found = []
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    found += [label for label in (tick.label1, tick.label2) if label.get_visible()]
        if axes.get_legend() is not None:
            found += axes.get_legend().get_texts()
    parts = [figure, *getattr(figure, "subfigs", [])]
    found += [part._suptitle for part in parts if part._suptitle is not None]
    found += [part._supxlabel for part in parts if part._supxlabel is not None]
    return [text for text in found if text.get_text() and text.get_visible()]


def words_of(figure: Any) -> str:
    """All texts, one a line."""
    return "\n".join(text.get_text() for text in texts_of(figure))


def check_layout(figure: Any) -> None:
    """No text lies outside the picture or on another text."""
    texts = texts_of(figure)
    boxes = [text.get_window_extent(figure.canvas.get_renderer()) for text in texts]
    for i, box in enumerate(boxes):
        name = texts[i].get_text()
        assert figure.bbox.x0 - 1 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1, f"{name!r} is cut at a side"
        assert figure.bbox.y0 - 1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1, f"{name!r} is cut above or below"
        for j in range(i):
            assert not _overlap(box, boxes[j]), f"{name!r} lies on {texts[j].get_text()!r}"


def _overlap(a: Any, b: Any) -> bool:
    """More than a hair: ticks of neighbouring panels may touch."""
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1


def lines_of(axes: Any, color: str) -> list[np.ndarray]:
    """The data of the lines in a color that have more than one point -> (n, 2) each."""
    data = [np.column_stack(line.get_data()).astype(float) for line in axes.lines if line.get_color() == color]
    return [points for points in data if len(points) > 1]


def marks_of(axes: Any, color: str, symbol: str = "o") -> list[tuple[float, float]]:
    """The single points in a color and shape."""
    found = [line for line in axes.lines if line.get_color() == color and line.get_marker() == symbol]
    return [(float(x[0]), float(y[0])) for x, y in (line.get_data() for line in found) if len(x) == 1]
