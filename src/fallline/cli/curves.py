"""The picture of a run, drawn by a process of its own: matplotlib takes longer to load than a small network to train.

`python -m fallline.cli.curves` reads the rows of a history as JSON from its pipe, and writes the PNG file to the other.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import threading
from typing import Any

PATIENCE = 10.0  # seconds: after a longer training, the time to draw the picture in this process counts for little


class Painter:
    """The process that draws, from the start of the command on; without one, `picture` is always empty."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._picture = b""

    def start(self) -> None:
        """Starts the process where it pays."""
        if self._process is None and _pays():
            command = [sys.executable, "-P", "-m", __name__]
            given: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            try:
                self._process = subprocess.Popen(command, start_new_session=True, **given)  # Ctrl-C is not for it
            except OSError:
                return

    def draw(self, rows: list[dict[str, Any]]) -> None:
        """Has the history of these rows drawn, while other work goes on."""
        if self._process is not None and self._thread is None:
            self._thread = threading.Thread(target=self._ask, args=(self._process, rows), daemon=True)
            self._thread.start()

    def _ask(self, process: subprocess.Popen[bytes], rows: list[dict[str, Any]]) -> None:
        drawn, _ = process.communicate(json.dumps(rows, default=_number).encode())
        self._picture = drawn if process.returncode == 0 else b""

    def picture(self) -> bytes:
        """The PNG file; empty where the process could not draw it."""
        if self._thread is not None:
            self._thread.join()
        return self._picture

    def stop(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            if self._thread is None:
                self._process.communicate()
        self.picture()
        self._process, self._thread, self._picture = None, None, b""


PAINTER = Painter()


def _number(value: Any) -> Any:
    """A NumPy number as a plain one; nothing for what is no number, which is not drawn."""
    return value.item() if hasattr(value, "item") else None


def _pays() -> bool:
    """Whether a processor is free to load matplotlib, which is not loaded yet."""
    return bool(sys.executable) and _processors() > 1 and "matplotlib" not in sys.modules


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """The process: everything is loaded before the rows come. Without rows, or after PATIENCE, it ends."""
    waiting = threading.Timer(PATIENCE, os._exit, (1,))
    waiting.daemon = True
    waiting.start()
    gc.disable()
    artist: Any = importlib.import_module("matplotlib.artist")
    artist.kwdoc = lambda _: ""  # tables for docstrings take a fifth of the import, and nobody reads them here
    figures = importlib.import_module("fallline.explain.figures.history")
    history = importlib.import_module("fallline.train.history")
    rows = sys.stdin.buffer.read()
    waiting.cancel()
    if rows:
        sys.stdout.buffer.write(figures.plot_history(history.History(json.loads(rows)))._repr_png_())
        sys.stdout.buffer.flush()
    os._exit(0)  # the one who waits waits for the end too, and to take all this apart takes as long as to draw


if __name__ == "__main__":
    main()
