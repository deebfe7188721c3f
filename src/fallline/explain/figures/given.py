"""What a picture of a model is given: the model of a Fit, rows with their targets, and lengths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.train.model import Model


def rows_of(model: Model, X: Any, y: Any = None) -> tuple[Any, np.ndarray]:
    """The inputs and the encoded targets of rows: X and y, one pair (X, y), or a table that holds its targets."""
    if y is None and isinstance(X, (tuple, list)) and len(X) == 2 and model.columns is None:
        X, y = X
    return model.rows(X, y)


def model_of(given: Any) -> Model:
    """The model of a Fit, or the model itself."""
    found = getattr(given, "model", given)
    if not isinstance(found, Model):
        raise ConfigError(f"a fitted model is needed, given {type(given).__name__}: pass fl.fit(...) or its .model")
    return found


def check_length(name: str, value: Any) -> None:
    """ConfigError for anything but None and a finite number above 0."""
    if value is None:
        return
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ConfigError(f"{name}={value!r}: {name} must be a finite number above 0, or left out")


__all__ = ["check_length", "model_of", "rows_of"]
