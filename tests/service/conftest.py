"""Fixtures shared by the service's tests. The server is shared by all that do not change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.bundle import load_bundle
from service.model import Model
from service.onnx_engine import SessionConfig
from tests.service.live import Live, live_app
from tests.service.tiny_bundle import write_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle on disk; do not change it."""
    return write_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def tiny_model(bundle: Path) -> Model:
    """The bundle, loaded into ONNX Runtime."""
    return load_bundle(bundle, SessionConfig())


@pytest.fixture(scope="session")
def server(tiny_model: Model) -> Iterator[Live]:
    """A server with the tiny model."""
    with live_app(tiny_model) as live:
        yield live
