"""Fixtures of the tests of `listwright fetch`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.contract.manifest import EMBEDDED_BUNDLES
from models.fetching import source
from tests.models.fetching.copies import bundle
from tests.models.fetching.web import Web, running_web

SCENES = "[scenes.home]\ntop_n = 4\n"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "FIRST_WAIT", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder of bundles with three versions of the demo, its catalogue, and scenes."""
    root = tmp_path / "store"
    shutil.copytree(EMBEDDED_BUNDLES / "catalogue", root / "catalogue")
    for version in ("1", "2", "10"):
        bundle(root, version)
    (root / "scenes.toml").write_text(SCENES)
    (root / "README").write_text("not a bundle")
    return root


@pytest.fixture
def web(store: Path) -> Iterator[Web]:
    with running_web(store) as running:
        yield running
