"""Fixtures shared by the service's tests. The server is shared by all that do not change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.bundles.load import load_bundle
from service.bundles.model import Model
from service.inference.onnx.session import SessionConfig
from tests.service.degre_bundle import write_degre_bundle
from tests.service.live import Live, live_app
from tests.service.tiny_bundle import Options, write_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle on disk; do not change it."""
    return write_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def sort_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, of a graph that is also given the sort's list; do not change it."""
    return write_bundle(tmp_path_factory.mktemp("sort"), Options(knows_sort=True))


@pytest.fixture(scope="session")
def ruled_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with a second graph for requests with rules, of four groups; do not change it."""
    return write_bundle(tmp_path_factory.mktemp("ruled"), Options(groups=4))


@pytest.fixture(scope="session")
def tiny_model(bundle: Path) -> Model:
    """The bundle, loaded into ONNX Runtime."""
    return load_bundle(bundle, SessionConfig())


@pytest.fixture(scope="session")
def degre_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DeGRe bundle that takes any objectives, under the same name and over the same features; do not change it."""
    return write_degre_bundle(tmp_path_factory.mktemp("degre"))


@pytest.fixture(scope="session")
def ruled_degre_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The DeGRe bundle with a graph for rules, loaded into ONNX Runtime."""
    folder = write_degre_bundle(tmp_path_factory.mktemp("ruled_degre"), rules=True)
    return load_bundle(folder, SessionConfig())


@pytest.fixture(scope="session")
def degre_model(degre_bundle: Path) -> Model:
    """The DeGRe bundle, loaded into ONNX Runtime."""
    return load_bundle(degre_bundle, SessionConfig())


@pytest.fixture(scope="session", params=["bundle", "sort_bundle", "degre_bundle"])
def any_bundle(request: pytest.FixtureRequest) -> Path:
    """A bundle of any kind, for what must hold whatever the model is."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture(scope="session")
def any_server(any_bundle: Path) -> Iterator[Live]:
    """A server with a model of any kind."""
    with live_app(load_bundle(any_bundle, SessionConfig())) as live:
        yield live


@pytest.fixture(scope="session")
def server(tiny_model: Model) -> Iterator[Live]:
    """A server with the tiny model."""
    with live_app(tiny_model) as live:
        yield live
