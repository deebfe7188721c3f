"""Compiled code of these tests goes into a folder of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fallline.core.settings import settings


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    kept, settings.cache = settings.cache, str(tmp_path_factory.mktemp("cache"))
    yield
    settings.cache = kept
