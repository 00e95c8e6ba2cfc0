"""A server that keeps rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.bundles.load import load_bundle
from service.inference.onnx.session import SessionConfig
from tests.service.live import Live, live_app
from tests.service.tiny_bundle import Options, write_bundle


@pytest.fixture(scope="package")
def ruled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with a tiny model that has a graph for rules."""
    folder = write_bundle(tmp_path_factory.mktemp("rules"), Options(groups=32))
    with live_app(load_bundle(folder, SessionConfig())) as live:
        yield live
