"""A place for control sockets that is each test's own."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.hosts import own_place

__all__ = ["home"]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """An empty XDG_RUNTIME_DIR."""
    with own_place() as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
        yield path
