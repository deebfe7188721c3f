"""Values: what the command line gives to a parameter, which is text, several texts or a flag, and stays it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class AsGiven:
    """How a parameter comes to its value, in the place of Typer's conversion.

    There is nothing to convert here, and the library that Typer does it with takes as long to load as a small network
    takes to train.
    """

    def __init__(self, parameter: Any):
        self._parameter, self._converted = parameter, parameter.process_value

    def __call__(self, context: Any, value: Any) -> Any:
        parameter = self._parameter
        if value is None and parameter.required:
            return self._converted(context, value)  # which says what is missing
        value = () if value is None and parameter.multiple else value
        return value if parameter.callback is None else parameter.callback(context, parameter, value)


def take_as_given(parameters: Sequence[Any]) -> Sequence[Any]:
    """The parameters, which no longer convert their values."""
    for parameter in parameters:
        if not isinstance(parameter.process_value, AsGiven):
            parameter.process_value = AsGiven(parameter)
    return parameters


__all__ = ["take_as_given"]
