"""The fixture `family`: three records that exist while a test runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fallline.core.errors import ConfigError
from fallline.core.record import RECORDS, Array, buffer, param, record, setting
from tests.core.shapes import Shape


@pytest.fixture
def family() -> Iterator[type[Shape]]:
    """Square(side), Circle(radius, unit), Group(parts, W, mean): settings of every kind, parameters, a buffer."""

    @record
    class Square(Shape):
        side: int = setting(at_least=1)
        aliases = ("box",)

    @record
    class Circle(Shape):
        radius: float = setting(1.0, above=0.0, below=10.0)
        unit: str = setting("m", choices=("m", "cm"))
        filled: bool = True
        center: tuple[float, ...] = (0.0, 0.0)

        def validate(self) -> None:
            if self.filled and self.radius > 5:
                raise ConfigError(f"{self!r}: a filled circle is at most 5 wide")

    @record
    class Group(Shape):
        parts: tuple[Shape, ...] = ()
        scale: object = None
        W: Array = param()
        mean: Array = buffer()

    try:
        yield Shape
    finally:
        for name in ("Square", "Circle", "Group"):
            RECORDS.remove(name)
