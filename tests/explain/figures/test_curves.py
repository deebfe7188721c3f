"""The learning curves as SVG: the same panels, values and words as matplotlib's, also of odd histories."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.core.errors import DataError
from fallline.explain.figures.curves import LABEL_GAP, LARGE, curves_svg, log_ticks, round_ticks
from fallline.explain.figures.history import plot_history
from fallline.train.history import History
from tests.explain.figures.test_history import ODD, falling, history, titles, valley, words
from tests.tolerance import assert_close

FULL = history(
    train_loss=falling, validation_loss=valley, learning_rate=lambda e: 0.1 / (1 + e),
    validation_auc=lambda e: 1 - falling(e) / 2, validation_log_loss=valley,
)  # fmt: skip
HUGE = history(5, train_loss=lambda e: (-1.7e308) ** (e % 2), validation_loss=lambda e: 1e-300 if e else 1e300)
WRITTEN = 0.1  # what a place is rounded to
ALIKE = history(
    train_loss=lambda e: 1.0, validation_loss=lambda e: 1.001, validation_auc=lambda e: 0.9,
    validation_accuracy=lambda e: 0.9, validation_f1=lambda e: 0.9, validation_balanced_accuracy=lambda e: 0.9,
)  # fmt: skip


def drawn(shown: History) -> list[ElementTree.Element]:
    """All that the picture consists of."""
    return list(ElementTree.fromstring(curves_svg(shown)).iter())


def named(elements: list[ElementTree.Element], name: str, **attributes: str) -> list[ElementTree.Element]:
    found = [e for e in elements if e.tag.endswith("}" + name)]
    return [e for e in found if all(e.get(k.replace("_", "-")) == v for k, v in attributes.items())]


def texts(elements: list[ElementTree.Element], **attributes: str) -> list[str]:
    return [e.text or "" for e in named(elements, "text", **attributes)]


def points(path: ElementTree.Element) -> np.ndarray:
    """Of a line, (n, 2)."""
    return np.array(re.findall(r"([-\d.]+),([-\d.]+)", path.get("d", "")), np.float64)


@pytest.mark.parametrize("shown", [FULL, ALIKE, *ODD.values()], ids=["full", "alike", *ODD])
def test_the_words_are_those_of_matplotlibs_picture(shown: History) -> None:
    elements, figure = drawn(shown), plot_history(shown)
    assert texts(elements, font_weight="bold") == titles(figure)
    assert {w for axes in figure.axes for w in words(axes)} <= set(texts(elements))
    assert "nan" not in "".join(value for e in elements for value in e.attrib.values())


def test_values_lie_where_the_axis_says() -> None:
    [line] = named(drawn(history(train_loss=valley)), "path")
    found, values = points(line), np.array([valley(e) for e in range(31)])
    assert len(found) == 31
    scale = np.polyfit(values, found[:, 1], 1)  # the heights are a straight function of the values, and fall
    assert scale[0] < 0
    assert np.abs(np.polyval(scale, values) - found[:, 1]).max() < WRITTEN
    assert np.ptp(np.diff(found[:, 0])) < 2 * WRITTEN


def test_a_log_scale_makes_a_straight_line_of_what_falls_exponentially() -> None:
    [line] = named(drawn(history(train_loss=falling)), "path")
    assert np.abs(np.diff(points(line)[:, 1], n=2)).max() < 4 * WRITTEN


def test_gaps_part_the_line_and_leave_dots_where_nothing_is_beside() -> None:
    gapped = history(9, train_loss=lambda e: math.nan if e in (2, 4, 7) else 1.0 + e)
    elements = drawn(gapped)
    [line] = named(elements, "path")
    assert line.get("d", "").count("M") == 3  # 0 1, 5 6, 8 9; and 3 alone
    assert len(named(elements, "circle", r="2.8")) == 1


def test_an_untrained_metric_does_not_squeeze_the_rest() -> None:
    wild = history(train_loss=falling, validation_r2=lambda e: -900.0 if e == 0 else 1 - falling(e))
    _, metric = named(drawn(wild), "path")
    assert np.ptp(points(metric)[1:, 1]) > 100


def test_labels_at_the_ends_do_not_touch() -> None:
    ends = [float(e.get("y", "")) for e in named(drawn(ALIKE), "text") if e.get("fill") and e.text]
    assert len(ends) == 6
    gaps = np.diff(sorted(ends))
    assert gaps.min() > LABEL_GAP * LARGE - WRITTEN


def test_numbers_at_the_end_of_what_there_is_are_drawn() -> None:
    assert "nan" not in curves_svg(HUGE)
    assert len(named(drawn(HUGE), "path")) == 2


def test_empty_history_is_refused() -> None:
    with pytest.raises(DataError, match="at least one epoch"):
        curves_svg(History())


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_round_ticks_are_few_round_and_inside(low: float, width: float, most: int) -> None:
    found = round_ticks(low, low + width, most)
    assert len(found) <= most + 1
    if len(found) > 1:
        step = np.diff(found).mean()
        assert step * (len(found) + 1) > width  # none is missing
        assert f"{step:.0e}"[0] in "125"


def test_whole_ticks_and_those_of_a_log_scale() -> None:
    assert round_ticks(-0.1, 1.1, 8, whole=True) == [0, 1]
    assert_close(log_ticks(0.03, 2.5), [0.05, 0.1, 0.2, 0.5, 1.0, 2.0])
    assert_close(log_ticks(0.5, 1e6), [10.0**k for k in range(7)])
    many = log_ticks(1e-300, 1e300)
    assert 2 < len(many) < 20


def test_matplotlib_is_not_loaded() -> None:
    code = (
        "import sys\nfrom fallline.explain.figures.curves import History, curves_svg\n"
        "curves_svg(History([{'epoch': 0, 'train_loss': 1.0}]))\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "polars", "numpy.ma"} & set(done.stdout.split())
