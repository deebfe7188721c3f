"""Warnings that name the line of the user, however deep inside the package they arise."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

PACKAGE = str(Path(__file__).parents[1] / "_")[:-1]  # with the separator at the end


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns of something, at the innermost line that is not the package's own."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


__all__ = ["warn_user"]
