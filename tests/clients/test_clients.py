"""Clients made from a live service's document hold in strict mode, and get lists for the requests of the documents."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.rig.server import running_server
from models.contract.manifest import EMBEDDED_BUNDLES
from tests.clients import python, typescript
from tests.clients.documented import (
    COLUMNS_IDS,
    COLUMNS_REQUEST,
    ENVIRONMENT,
    KEY,
    OPTIONS,
    README_IDS,
    README_REQUEST,
    RULED_REQUESTS,
    code,
)

SMALLEST = {"candidates": [{"id": "a", "scores": {"ctr": 0.1, "cvr": 0.02}}]}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server(EMBEDDED_BUNDLES, options=OPTIONS, environment=ENVIRONMENT) as server:
        yield server.url


@pytest.fixture(scope="module")
def document(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=60) as response:
        path.write_bytes(response.read())
    return path


@pytest.mark.long
def test_a_python_client(url: str, document: Path, tmp_path: Path) -> None:
    assert python.generate(document, tmp_path, code("python")) == ""
    python.check(tmp_path)
    assert python.send(tmp_path, url, README_REQUEST, KEY) == README_IDS
    assert python.send(tmp_path, url, SMALLEST, KEY) == ["a"]
    assert python.send(tmp_path, url, COLUMNS_REQUEST, KEY) == COLUMNS_IDS
    for request in RULED_REQUESTS:
        assert len(python.send(tmp_path, url, request, KEY)) == request["top_n"]
    assert python.send(tmp_path, url, README_REQUEST, KEY, module="batch") == [*README_IDS, "422"]
    with pytest.raises(AssertionError, match="is also the id of"):
        python.send(tmp_path, url, {"candidates": SMALLEST["candidates"] * 2}, KEY)


@pytest.mark.long
def test_a_typescript_client(url: str, document: Path, tmp_path: Path) -> None:
    try:
        modules = typescript.packages()
    except typescript.NpmMissing as error:
        pytest.skip(str(error))
    typescript.generate(document, tmp_path, code("ts"), README_REQUEST, modules)
    typescript.compile_project(tmp_path)
    assert typescript.send(tmp_path, url, README_REQUEST, KEY) == README_IDS
    assert typescript.send(tmp_path, url, SMALLEST, KEY) == ["a"]
    assert typescript.send(tmp_path, url, COLUMNS_REQUEST, KEY) == COLUMNS_IDS
    for request in RULED_REQUESTS:
        assert len(typescript.send(tmp_path, url, request, KEY)) == request["top_n"]
    with pytest.raises(AssertionError, match="urn:listwright:problem:unauthorized"):
        typescript.send(tmp_path, url, SMALLEST, "another key")


def test_the_lock_file_names_exact_versions_and_no_host() -> None:
    package = json.loads((typescript.PROJECT / "package.json").read_text("utf-8"))
    lock = json.loads((typescript.PROJECT / "package-lock.json").read_text("utf-8"))["packages"]
    for name, version in package["devDependencies"].items():
        assert lock[f"node_modules/{name}"]["version"] == version
    assert not [name for name, entry in lock.items() if "resolved" in entry]
    assert all("integrity" in entry for name, entry in lock.items() if name)
