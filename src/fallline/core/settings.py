"""The settings that come from the environment: all of them, read here and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass
class Settings:
    """FALLLINE_ENGINE  engine that "auto" means (default: the fastest one that is installed)
    FALLLINE_CACHE   folder for compiled code, or "off" (default: the user's cache folder)
    FALLLINE_VERIFY  1 verifies every program after every pass (the tests do)
    """

    engine: str = "auto"
    cache: str = ""
    verify: bool = False


settings = Settings(
    engine=os.environ.get("FALLLINE_ENGINE", "auto"),
    cache=os.environ.get("FALLLINE_CACHE", ""),
    verify=os.environ.get("FALLLINE_VERIFY", "0") not in ("", "0"),
)
