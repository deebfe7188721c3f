"""Several works at once, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

HANGS = 30.0  # seconds after which a thread or a process is taken to hang


def in_threads(*works: Callable[[], Any]) -> list[Any]:
    """What the works gave."""
    found: list[Any] = [None] * len(works)

    def do(k: int) -> None:
        found[k] = works[k]()

    threads = [threading.Thread(target=do, args=(k,), daemon=True) for k in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS)
    assert not any(thread.is_alive() for thread in threads)
    return found
