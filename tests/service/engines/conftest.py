"""Fixtures of the tests of engine processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.engines import link as link_module
from service.engines.private import private_folder


@pytest.fixture
def path() -> Iterator[Path]:
    """Where an engine process may listen: in a folder of this user's own."""
    with private_folder() as folder:
        yield folder / "engine.sock"


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_RETRY_SECONDS", 0.005)
