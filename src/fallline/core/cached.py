"""A property that is computed once, without the lock that functools' has before Python 3.12.

That lock is one for all instances of a class: a process forked while another thread holds it would wait for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from functools import cached_property
else:

    class cached_property:
        """The result of the method, kept in the instance; two threads at once may both compute it."""

        def __init__(self, method: Any):
            self.method, self.__doc__ = method, method.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self.name = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__[self.name] = self.method(instance)
            return value


__all__ = ["cached_property"]
