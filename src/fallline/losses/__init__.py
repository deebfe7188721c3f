"""Losses, the links that belong to them, penalties on the weights. Called, `fl.losses()`, the package lists them."""

from __future__ import annotations

import sys
from types import ModuleType

from fallline.core.facts import FactRows
from fallline.losses import loss


class _Package(ModuleType):
    """Python binds the name `fallline.losses` to this package as soon as it is imported, so it must be callable."""

    def __call__(self) -> FactRows[loss.LossRow]:
        return loss.losses()

    @property
    def losses(self) -> ModuleType:
        """What `fl.losses` finds."""
        return self


sys.modules[__name__].__class__ = _Package
