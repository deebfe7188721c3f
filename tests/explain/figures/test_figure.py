"""The shared look: whatever style is set, the same bytes each time; labels in free places; errors in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from fallline.core.errors import ConfigError
from fallline.explain.figures.contours import levels
from fallline.explain.figures.figure import (
    ZERO,
    dress,
    finish,
    jumps,
    limits,
    look,
    new_picture,
    round_ticks,
    zero_lines,
)
from fallline.explain.figures.labels import mark, say
from fallline.explain.figures.plain import (
    BLUE,
    number_label,
)
from fallline.explain.figures.slope import plot_slope
from tests.explain.figures.pictures import check_layout
from tests.tolerance import assert_close


def square(w):
    return w * w


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_code_writes_the_same_bytes_whatever_style_is_set(tmp_path: Path, suffix: str) -> None:
    written = []
    for i, settings in enumerate(({}, {"lines.linewidth": 7.0, "axes.facecolor": "black", "svg.hashsalt": "x"})):
        with matplotlib.rc_context(settings):
            plot_slope(square, 1.0, path=tmp_path / f"{i}.{suffix}")
        written.append((tmp_path / f"{i}.{suffix}").read_bytes())
    assert written[0] == written[1]
    assert b"Matplotlib" not in written[0][:2000]


def test_no_setting_is_left_behind(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 3.0, "svg.hashsalt": "mine"}):
        before = dict(matplotlib.rcParams)
        plot_slope(square, 1.0, path=tmp_path / "a.svg")._repr_png_()
        assert dict(matplotlib.rcParams) == before


def test_pyplot_stays_unloaded() -> None:
    code = """
import sys, numpy as np, fallline as fl
X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
fit = fl.fit(fl.Sequential(fl.Dense(2), fl.Tanh(), fl.Dense(1)), (X, y), epochs=1)
fl.plot_slope(lambda w: w * w, 1.0), fl.plot_function("relu"), fl.plot_function("bce"), fl.plot_functions("links")
fl.plot_loss(fit, X, y, along="layers.0.b[0]"), fl.plot_boundary(fit, X, y), fl.plot_units(fit, X)
print("matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_notebook_shows_a_picture_of_150_dots_an_inch() -> None:
    head = plot_slope(square, 1.0)._repr_png_()[:24]
    assert head.startswith(b"\x89PNG")
    assert int.from_bytes(head[16:20], "big") == 7 * 150


def test_what_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.svgx: give a name that ends in \.png, \.svg, \.pdf or \.jpg$"):
        plot_slope(square, 1.0, path=tmp_path / "a.svgx")
    with pytest.raises(ConfigError, match=r"cannot write .*No such file or directory; choose another place"):
        plot_slope(square, 1.0, path=tmp_path / "no" / "a.png")
    with pytest.raises(ConfigError, match="cannot write"):
        plot_slope(square, 1.0, path=tmp_path)  # a folder
    plot_slope(square, 1.0, path=tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes().startswith(b"\x89PNG")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    plot_slope(square, 1.0, path="~/a.PNG")
    assert (tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")


def test_labels_find_a_place_beside_lines_and_each_other() -> None:
    with look():
        figure = new_picture(4.0)
        axes = dress(figure.add_subplot(), "many labels", "x", "y")
        x = np.linspace(-1, 1, 50)
        axes.plot(x, x, color=BLUE)
        axes.set(xlim=(-1, 1), ylim=(-1, 1))
        zero_lines(axes)
        for at in (-0.6, -0.1, 0.0, 0.1, 0.6):
            mark(axes, at, at)
            say(axes, f"here it is {at}", (at, at))
    check_layout(figure)
    line = axes.transData.transform(np.column_stack([x, x]))
    for text in axes.texts:
        box = text.get_window_extent()
        assert axes.bbox.x0 <= box.x0 <= box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 <= box.y1 <= axes.bbox.y1
        assert not [p for p in line if box.x0 < p[0] < box.x1 and box.y0 < p[1] < box.y1]
    assert [line.get_gid() for line in axes.lines].count(ZERO) == 2


def test_limits_leave_room_and_cut_off_what_flies_away() -> None:
    assert_close(limits(np.array([0.0, 1.0])), (-0.08, 1.08))
    assert_close(limits(np.array([0.0, 1.0]), inside=(5.0,)), (-0.4, 5.4))
    low, high = limits(np.append(np.linspace(0, 1, 100), 1e6))
    assert high < 3
    assert low < 0
    assert limits(np.array([2.0, 2.0])) == (1.5, 2.5)
    assert all(np.isfinite(limits(np.array([np.nan, np.inf]))))


def test_jumps_are_told_from_steep_slopes() -> None:
    x = np.linspace(-1, 1, 201)
    assert not jumps(np.tanh(20 * x)).any()
    assert np.flatnonzero(jumps(np.where(x < 0, 0.0, 1.0))).tolist() == [99]
    assert np.flatnonzero(jumps(np.sign(np.round(x, 12)))).tolist() == [99, 100]
    assert not jumps(np.abs(x)).any()


def test_levels_are_round_or_in_equal_ratios() -> None:
    steps, _, ticks = levels(np.linspace(0.31, 0.69, 50))
    assert_close(steps * 1000, np.round(steps * 1000))
    assert steps[0] <= 0.31 <= 0.66 < steps[-1]
    steps, _, ticks = levels(np.geomspace(0.01, 100, 50), seen=200.0)
    assert_close(steps[1:] / steps[:-1], np.full(15, steps[1] / steps[0]))
    assert steps[-1] == 200.0
    assert set(ticks) <= {p * 10.0**d for p in (1, 2, 3, 5) for d in range(-3, 4)}
    assert len(ticks) >= 3
    with pytest.raises(ConfigError, match="no value in this plane is finite"):
        levels(np.array([np.nan, np.inf]))
    assert len(levels(np.full(4, 0.5))[0]) > 1


def test_ticks_and_numbers_are_written_plainly() -> None:
    with look():
        figure = new_picture(2.0)
        axes = dress(figure.add_subplot())
        axes.set(xlim=(-0.000002, 0.000001), ylim=(0, 1))
        round_ticks(axes.xaxis)
        figure.draw_without_rendering()
    shown = [tick.get_text() for tick in axes.get_xticklabels()]
    assert "0" in shown
    assert "−1e−06" in shown
    assert number_label(-0.000123456) == "−0.0001235"


def test_finish_without_a_path_writes_nothing() -> None:
    with look():
        figure = new_picture(2.0)
        assert finish(figure, None) is figure
