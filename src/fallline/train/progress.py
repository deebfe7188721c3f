"""Progress: a consumer of events that shows how far training is, as a bar in a terminal and as few lines elsewhere."""

from __future__ import annotations

import atexit
import math
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TextIO

from fallline.train.events import BatchProgress, Ended, EpochEnded, Event, Started, Stop
from fallline.train.history import History

LINE_SECONDS = 5.0  # without a terminal: a line at each tenth of the epochs, or after so much silence
BAR_SECONDS = 0.1  # in a terminal: the bar moves at most so often
RISING_EPOCHS = 3  # a train loss that rises so many times in a row is worth a word
SMALLEST_BAR = 6  # columns


class Progress:
    """Shows training on `stream` (default: standard error, so that standard output stays clean).

        with Progress() as show:
            for event in loop:
                show(event)

    quiet     shows nothing
    terminal  whether to draw a bar; default: whether the stream is a terminal
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        quiet: bool = False,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.stream = sys.stderr if stream is None else stream
        self.quiet, self.clock = quiet, clock
        moves = os.environ.get("TERM") != "dumb"  # whether the cursor can go back to redraw a line
        self.terminal = (self.stream.isatty() and moves) if terminal is None else terminal
        self._bar: Any = None
        self._row: dict[str, Any] = {}
        self._begin(Started(epochs=1, batches=1, rows=0))

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the terminal as it was; called on Ended, and by `with` when training breaks off."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, event: Event) -> Stop | None:
        if self.quiet:
            return None
        if isinstance(event, Started):
            self.close()
            self._begin(event)
        elif isinstance(event, BatchProgress):
            if event.batch >= event.batches:
                return None  # the epoch's own row follows at once
            self._epoch, self._batch = event.epoch - 1, event.batch
            self._row = {**self._row, "train_loss": event.loss}
            self._show(due=False)
        elif isinstance(event, EpochEnded):
            self._history.append(event.row)
            self._row, self._epoch, self._batch = self._history[-1], int(event.row["epoch"]), 0
            self._show(due=self._epoch >= self._next_tenth)
            self._warn_of_rise()
        else:
            self._finish(event)
        return None

    def _begin(self, event: Started) -> None:
        self._run, self._history = event, History(event.history)
        self._row = dict(event.history[-1]) if event.history else {}
        self._epoch, self._batch = event.epoch, 0
        self._start = self.clock()
        self._last_shown, self._next_tenth = -math.inf, 0.0
        self._warned = self._over = False

    @property
    def share(self) -> float:
        """The part of all epochs that is done, 0..1."""
        done = self._epoch + self._batch / max(self._run.batches, 1)
        return min(done / max(self._run.epochs, 1), 1.0)

    def seconds_left(self) -> float:
        """Time to the last epoch at the pace so far; NaN before there is a pace. Early stopping may be earlier."""
        done = self.share - self._run.epoch / max(self._run.epochs, 1)
        return (self.clock() - self._start) * (1 - self.share) / done if done > 0 else math.nan

    def _show(self, *, due: bool) -> None:
        now = self.clock()
        if self.terminal:
            if now - self._last_shown >= BAR_SECONDS:
                self._last_shown = now
                self._draw()
        elif due or now - self._last_shown >= LINE_SECONDS:
            self._last_shown = now
            self._next_tenth = (math.floor(10 * self.share) + 1) * self._run.epochs / 10
            self._write("  ".join(text for text in self._texts(short=False) if text))

    def _texts(self, *, short: bool) -> list[str]:
        """What there is to say, the most important first; `short` for one line of a terminal."""
        row, epochs = self._row, self._run.epochs
        train, held, rate = (row.get(name) for name in ("train_loss", "validation_loss", "learning_rate"))
        left = self.seconds_left()
        time_left = f"{seconds_text(left)} left" if math.isfinite(left) and self.share < 1 and not self._over else ""
        if short:  # of a constant width each, lest the bar changes its length all the time
            loss, val = _labelled("loss", train, 7), _labelled("val", held, 7)
            return [
                f"{self._epoch:>{len(str(epochs))}}/{epochs}",
                loss,
                val,
                f"{time_left:<11}",
                _labelled("rate", rate),
            ]
        batch = f", batch {self._batch}/{self._run.batches}" if self._batch else ""
        return [
            f"epoch {self._epoch}/{epochs}{batch}",
            _labelled("train loss", train),
            _labelled("validation loss", held),
            time_left,
            _labelled("learning rate", rate),
        ]

    def _draw(self) -> None:
        if self._bar is None:
            self._bar = _Bar(self.stream)
        self._bar.draw(self.share, self._texts(short=True))

    def _warn_of_rise(self) -> None:
        recent = self._history.rows[-RISING_EPOCHS - 1 :]
        losses = [row.get("train_loss", math.nan) for row in recent]
        if self._warned or len(losses) <= RISING_EPOCHS or not all(a < b for a, b in pairwise(losses)):
            return
        self._warned = True
        ends = recent[0]["epoch"], recent[-1]["epoch"]
        self._write(History(recent).rise_text(*ends))

    def _finish(self, event: Ended) -> None:
        self._over = True  # an early stop leaves no time to be told
        if self.terminal and self._history.rows:
            self._draw()
            self._bar.stop()
        epochs = f"{self._epoch} epoch{'s' * (self._epoch != 1)}"
        text = f"{epochs} in {seconds_text(self.clock() - self._start)}: {event.reason}"
        best = next((row for row in self._history if row["epoch"] == event.best_epoch), None)
        if event.best_epoch is not None:
            text += f"; best epoch {event.best_epoch}"
        if best is not None:
            shown = [_labelled(n.replace("_", " "), best.get(n)) for n in ("validation_loss", "train_loss")]
            text += next((f", {s}" for s in shown if s), "")
        self._write(text)
        self.close()

    def _write(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text)
        else:
            self.stream.write(text + "\n")
            self.stream.flush()


class _Bar:
    """One line at the bottom of a terminal: a bar that takes the room which the texts leave."""

    def __init__(self, stream: TextIO):
        # rich costs some 50 ms to import, so only a terminal pays for it
        from rich.console import Console
        from rich.live import Live

        # A print to a standard output that is not this terminal must not come out here
        self.console = Console(file=stream, force_terminal=True, highlight=False)
        self.live = Live(
            console=self.console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )
        self.live.start()
        atexit.register(self.stop)  # should an error end the program, the cursor comes back all the same

    def draw(self, share: float, texts: list[str]) -> None:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar, kept = layout(self.console.width, texts)
        grid = Table.grid(padding=0)
        cells: list[Any] = [Text(f"{kept[0]} ", style="bold"), Text("  ".join(kept[1:]))]
        if bar:
            drawn = ProgressBar(total=1.0, completed=share, width=bar, complete_style="cyan", finished_style="green")
            cells = [cells[0], drawn, Text(" ") + cells[1]]
        grid.add_row(*cells)
        self.live.update(grid, refresh=True)

    def write(self, text: str) -> None:
        """A line above the bar, or below it once the bar has stopped; broken between words."""
        from rich.text import Text

        self.console.print(Text(text))  # as Text, for print's own options would change the bar too

    def stop(self) -> None:
        atexit.unregister(self.stop)
        self.live.stop()


def layout(width: int, texts: list[str]) -> tuple[int, list[str]]:
    """(columns for the bar, texts that fit beside it): texts from the front as long as the smallest bar fits too.

    The bar has at most 40 columns; epochs and the two losses come before it, so on a narrow terminal there is none.
    """
    room = width - 1  # the last column stays free: some terminals wrap when it is written
    given = [text for text in texts if text]
    kept = given[:1]
    for text in given[1:]:
        beside = SMALLEST_BAR + 1 if len(kept) >= 3 else 0
        if _width([*kept, text]) + beside > room:
            break
        kept.append(text)
    bar = min(room - _width(kept) - 1, 40)
    return (bar if bar >= SMALLEST_BAR else 0), kept


def _width(texts: list[str]) -> int:
    """Columns of "first second  third  fourth"."""
    return len(texts[0]) + 1 + len("  ".join(texts[1:]))


def _labelled(label: str, value: Any, width: int = 0) -> str:
    return "" if value is None else f"{label} {f'{value:.4g}':<{width}}"


def seconds_text(seconds: float) -> str:
    """0.42 s, 12 s, 3:05 min, 2:10 h."""
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 0.1 or seconds == 0 else f"{seconds:.1g} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
