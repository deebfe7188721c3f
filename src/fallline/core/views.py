"""The registry of views: what a lower folder asks for by name and `explain` makes: pictures, frames, explanations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fallline.core.registry import Registry

# "history" -> function(history, path=None); found by name because explain lies above everything it draws. What draws
# with matplotlib comes last, so that nothing else waits for it.
HOMES = ("fallline.explain.tracing", "fallline.explain.reports", "fallline.explain.figures")
VIEWS: Registry[Callable[..., Any]] = Registry("view", homes=HOMES)
