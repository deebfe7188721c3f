"""Learning curves: what stands in the picture, in odd histories too; labels that do not overlap."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.core.errors import DataError
from fallline.explain.figures.figure import DPI
from fallline.explain.figures.history import plot_history
from fallline.explain.figures.plain import WIDTH, spread
from fallline.train.history import History
from tests.tolerance import TOL, assert_close


def history(epochs: int = 30, **columns: Any) -> History:
    """Columns are functions of the epoch."""
    return History({"epoch": e, **{n: f(e) for n, f in columns.items()}} for e in range(epochs + 1))


def falling(e: int) -> float:
    return math.exp(-e / 8)


def valley(e: int) -> float:
    return 1.0 + (e - 12) ** 2 / 100


def titles(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def words(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_full_history(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    full = history(
        train_loss=falling, validation_loss=valley, learning_rate=lambda e: 0.1 / (1 + e),
        validation_auc=lambda e: 1 - falling(e) / 2, validation_log_loss=valley,
    )  # fmt: skip
    figure = full.plot(path)
    assert titles(figure) == ["loss", "validation AUC", "learning rate"]
    assert words(figure.axes[0])[0] == "best epoch 12: validation loss 1"
    assert {w.split()[0] for w in words(figure.axes[0])[1:]} == {"train", "validation"}
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert int.from_bytes(head[16:20], "big") == round(WIDTH * DPI)


def test_log_scale_only_where_it_pays() -> None:
    assert plot_history(history(train_loss=falling)).axes[0].get_yscale() == "log"
    assert plot_history(history(train_loss=valley)).axes[0].get_yscale() == "linear"
    assert plot_history(history(train_loss=lambda e: falling(e) - 0.5)).axes[0].get_yscale() == "linear"


def test_constant_learning_rate_and_the_loss_as_a_metric_need_no_panel() -> None:
    figure = plot_history(history(train_loss=falling, learning_rate=lambda e: 0.1, validation_log_loss=valley))
    assert titles(figure) == ["loss"]


def test_rising_metrics_are_drawn_without_the_falling_ones() -> None:
    figure = plot_history(history(train_loss=falling, validation_r2=falling, validation_rmse=valley))
    assert titles(figure) == ["loss", "validation R²"]
    assert titles(plot_history(history(train_loss=falling, train_rmse=valley)))[1] == "train RMSE"


def test_an_untrained_metric_does_not_squeeze_the_rest() -> None:
    axes = plot_history(history(train_loss=falling, validation_r2=lambda e: -900.0 if e == 0 else 1 - falling(e))).axes
    assert axes[1].get_ylim()[0] > -1


ODD = {
    "untrained": history(0, train_loss=falling),
    "one epoch": history(1, train_loss=falling, validation_loss=valley),
    "nan": history(5, train_loss=lambda e: math.nan),
    "inf": history(5, train_loss=lambda e: math.inf if e else 1.0),
    "gaps": history(5, train_loss=lambda e: math.nan if e % 2 else 1.0, validation_loss=lambda e: math.nan),
    "zero": history(5, train_loss=lambda e: 0.0),
    "no loss": history(5, gradient_norm=falling),
    "long": history(3000, train_loss=falling, validation_accuracy=lambda e: 0.5),
    "large": history(5, train_loss=lambda e: 1e30 * falling(e), learning_rate=lambda e: 1e-9 * (e + 1)),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_histories_are_drawn(odd: History, tmp_path: Path) -> None:
    plot_history(odd, tmp_path / "odd.png")
    assert (tmp_path / "odd.png").stat().st_size > 0


def test_other_suffixes_and_none(tmp_path: Path) -> None:
    plot_history(history(train_loss=falling), tmp_path / "a.svg")
    plot_history(history(train_loss=falling), tmp_path / "b")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "b").read_bytes().startswith(b"\x89PNG")


def test_a_notebook_shows_the_figure() -> None:
    assert plot_history(history(train_loss=falling))._repr_png_().startswith(b"\x89PNG")


def test_empty_history_is_refused() -> None:
    with pytest.raises(DataError, match="at least one epoch"):
        History().plot()


def test_no_text_lies_on_another_or_outside_the_picture() -> None:
    close = history(
        train_loss=lambda e: 1.0, validation_loss=lambda e: 1.001, validation_auc=lambda e: 0.9,
        validation_accuracy=lambda e: 0.9, validation_f1=lambda e: 0.9, validation_balanced_accuracy=lambda e: 0.9,
    )  # fmt: skip
    figure: Any = plot_history(close)
    texts = [t for axes in figure.axes for t in (*axes.texts, axes.title, axes._left_title) if t.get_text()]
    boxes = [t.get_window_extent(figure.canvas.get_renderer()) for t in texts]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, texts[i].get_text()
        assert not [texts[j].get_text() for j in range(i) if box.overlaps(boxes[j])], texts[i].get_text()


@given(st.lists(st.floats(-50, 150), min_size=1, max_size=5).map(sorted))
def test_spread_keeps_the_distance_and_moves_little(wanted: list[float]) -> None:
    placed = spread(wanted, 10.0, 0.0, 100.0)
    assert all(b - a >= 10.0 - TOL["run"] for a, b in itertools.pairwise(placed))
    assert all(0.0 <= p <= 100.0 + TOL["run"] for p in placed)
    free = np.diff(wanted, prepend=-math.inf, append=math.inf)
    if all(0 <= w <= 100 for w in wanted) and (free[1:-1] >= 10.0).all():
        assert_close(placed, wanted)


def test_pyplot_is_not_touched() -> None:
    code = (
        "import sys; from fallline.train.history import History;"
        "History([{'epoch': 0, 'train_loss': 1.0}]).plot(); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
