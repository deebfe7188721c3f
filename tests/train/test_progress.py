"""Progress: lines in a pipe, one line that never wraps in a terminal, silence when quiet."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator

import pytest

from fallline.train.events import BatchProgress, Ended, EpochEnded, Event, Started
from fallline.train.progress import LINE_SECONDS, Progress, layout, seconds_text
from tests.tolerance import assert_close


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(epochs: int, batches: int = 4) -> Iterator[Event]:
    yield Started(epochs, batches, rows=100)
    for epoch in range(epochs + 1):
        for batch in range(1, batches) if epoch else ():
            yield BatchProgress(epoch, batch, batches, loss=0.123456)
        yield EpochEnded(
            {"epoch": epoch, "learning_rate": 1e-3, "train_loss": 1 / (1 + epoch), "validation_loss": 2 / (1 + epoch)}
        )
    yield Ended("all epochs are done", best_epoch=epochs)


def shown(events: Iterator[Event], seconds: float = 0.0, **options: bool) -> list[str]:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, clock=clock, **options) as show:
        for event in events:
            show(event)
            clock.now += seconds
    return stream.getvalue().splitlines()


def test_a_quick_run_in_a_pipe_prints_a_line_per_tenth() -> None:
    lines = shown(run(1000))
    assert len(lines) == 12  # epochs 0, 100 … 1000, and the end
    assert lines[1] == "epoch 100/1000  train loss 0.009901  validation loss 0.0198  0 s left  learning rate 0.001"
    assert lines[-1] == "1000 epochs in 0 s: all epochs are done; best epoch 1000, validation loss 0.001998"
    assert "\x1b" not in "".join(lines)


def test_a_slow_epoch_speaks_now_and_then() -> None:
    lines = shown(run(2, batches=100), seconds=1.0)
    inside = [line for line in lines if "batch" in line]
    assert len(inside) == 2 * 100 // int(LINE_SECONDS) - 2  # none where the end of an epoch has just spoken
    assert inside[0].startswith("epoch 0/2, batch 5/100  train loss 0.1235")


def test_few_epochs_print_each() -> None:
    assert len(shown(run(3))) == 5


def test_time_left_is_in_proportion() -> None:
    clock = Clock()
    show = Progress(io.StringIO(), clock=clock)
    show(Started(epochs=10, batches=2, rows=4, epoch=4))  # resumed after epoch 4
    clock.now = 30.0
    show(BatchProgress(epoch=6, batch=1, batches=2, loss=1.0))  # 1.5 epochs in 30 s, 4.5 to go
    assert show.share == 0.55
    assert_close(show.seconds_left(), 90.0)


def test_rising_loss_is_said_once() -> None:
    events = [Started(20, 1, 1), *(EpochEnded({"epoch": i, "train_loss": 1.0 + i}) for i in range(20)), Ended("x")]
    said = [line for line in shown(iter(events)) if "rose" in line]
    assert said == ["train loss rose from 1 (epoch 0) to 4 (epoch 3): try a lower learning rate"]


def test_quiet_prints_nothing() -> None:
    assert shown(run(5), quiet=True) == []
    assert shown(run(5), quiet=True, terminal=True) == []


def test_default_stream_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    show = Progress()
    for event in run(2):
        show(event)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 4


def test_without_rows_or_losses_nothing_breaks() -> None:
    assert shown(iter([Started(3, 1, 1), Ended("interrupted")])) == ["0 epochs in 0 s: interrupted"]
    lines = shown(iter([Started(3, 1, 1), EpochEnded({"epoch": 0}), EpochEnded({"epoch": 1}), Ended("x", 1)]))
    assert lines[-1] == "1 epoch in 0 s: x; best epoch 1"


@pytest.mark.parametrize("columns", [20, 40, 60, 100, 200])
def test_a_terminal_line_never_wraps(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, terminal=True, clock=clock) as show:
        for event in run(30):
            show(event)
            clock.now += 1.0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    lines = re.split(r"[\r\n]+", text)
    assert max(map(len, lines)) <= columns
    assert any("30/30" in line for line in lines)
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l"), "the cursor is back"


def test_broken_off_training_gives_the_cursor_back() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress(stream, terminal=True) as show:  # noqa: PT012
        show(Started(3, 1, 1))
        show(EpochEnded({"epoch": 0, "train_loss": 1.0}))
        assert "\x1b[?25l" in stream.getvalue()
        raise KeyboardInterrupt
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_pseudo_terminal_gets_a_bar_unless_it_is_dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    import pty  # not on every platform

    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setenv("TERM", "xterm")
        assert Progress(stream).terminal
        monkeypatch.setenv("TERM", "dumb")
        assert not Progress(stream).terminal
    os.close(ours)


def test_layout_drops_the_last_texts_first() -> None:
    texts = ["10/20", "loss 0.5", "val 0.5", "3 s left", "rate 0.1"]
    assert layout(200, texts) == (40, texts)
    assert layout(40, texts) == (15, texts[:3])
    assert layout(26, texts) == (0, texts[:3])
    assert layout(16, texts) == (0, texts[:2])
    assert layout(30, ["10/20", "", "val 0.5"])[1] == ["10/20", "val 0.5"]


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0 s"), (0.034, "0.03 s"), (0.42, "0.42 s"), (1.26, "1.3 s"), (9.96, "10 s"), (99.4, "99 s"),
        (99.6, "1:40 min"), (185, "3:05 min"), (7800, "2:10 h"),
    ],
)  # fmt: skip
def test_seconds_in_words(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
