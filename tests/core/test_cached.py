"""cached_property: computed once for each instance, and never waited for because of another one."""

from __future__ import annotations

import threading

from fallline.core.cached import cached_property


class Slow:
    def __init__(self, go: threading.Event):
        self.go, self.times = go, 0

    @cached_property
    def answer(self) -> int:
        """Computed when the event has come."""
        assert self.go.wait(10)
        self.times += 1
        return self.times


def test_it_is_computed_once():
    go = threading.Event()
    go.set()
    slow = Slow(go)
    assert [slow.answer, slow.answer, slow.times] == [1, 1, 1]
    assert Slow.answer.__doc__ == "Computed when the event has come."


def test_one_instance_does_not_wait_for_another():
    never, at_once = threading.Event(), threading.Event()
    at_once.set()
    waiting = threading.Thread(target=lambda: Slow(never).answer)
    waiting.start()
    try:
        assert Slow(at_once).answer == 1
    finally:
        never.set()
        waiting.join()
