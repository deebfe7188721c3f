"""Settings of every test: programs are verified, compiled code is kept with pytest's own, Hypothesis is repeatable."""

from __future__ import annotations

import os
from pathlib import Path

# Compiled code, for all workers and the next run.
os.environ.setdefault("FALLLINE_CACHE", str(Path(__file__).parent.parent / ".pytest_cache" / "native"))
os.environ["FALLLINE_VERIFY"] = "1"  # read when fallline is imported, hence above every import of it
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process that a test starts translates all files anew
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two workers with two spinning threads each take ten times as long

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=40)
settings.register_profile("dev", deadline=None, max_examples=40)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/programs/*.txt from the programs built now"
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
