"""Hold the examples of the README and of docs/api.md to the service: each request gets the answer that is shown."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.rig.server import running_server
from models.contract.manifest import EMBEDDED_BUNDLES
from tests.documents import ROOT

README = (ROOT / "README.md").read_text("utf-8")
API = (ROOT / "docs" / "api.md").read_text("utf-8")
TOLERANCE = 1e-3
LINES = 110


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A service with the demo bundle and time enough on any machine."""
    with running_server(EMBEDDED_BUNDLES, options=("--budget-ms", "30000")) as server:
        yield server.url


def block(text: str, name: str) -> Any:
    """The JSON block behind the comment ``<!-- name -->``."""
    found = re.search(rf"<!-- {name} -->\n+```json\n(.*?)```", text, re.DOTALL)
    assert found, f"there is no JSON block named {name}"
    return json.loads(found[1])


def post(url: str, request: Any) -> tuple[int, Any]:
    """Status and body."""
    headers = {"content-type": "application/json"}
    call = urllib.request.Request(f"{url}/v1/rerank", json.dumps(request).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(call, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def check_list(answer: Any, shown: Any) -> None:
    """The same list, values and stages; times differ."""
    assert set(answer.pop("timings_ms")) == set(shown.pop("timings_ms"))
    assert answer.pop("value") == pytest.approx(shown.pop("value"), abs=TOLERANCE, rel=TOLERANCE)
    assert numbers(answer["items"]) == pytest.approx(numbers(shown["items"]), abs=TOLERANCE, rel=TOLERANCE)
    assert without_numbers(answer) == without_numbers(shown)


def numbers(value: Any) -> list[float]:
    """All numbers with a fraction in nested JSON, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for inner in value for number in numbers(inner)]
    return [value] if isinstance(value, float) else []


def without_numbers(value: Any) -> Any:
    """The same JSON with every number that has a fraction left out."""
    if isinstance(value, dict):
        return {key: without_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_numbers(inner) for inner in value]
    return None if isinstance(value, float) else value


@pytest.mark.long
def test_the_request_in_the_readme_gets_the_answer_in_the_readme(url: str) -> None:
    status, answer = post(url, block(README, "request"))
    assert status == 200
    check_list(answer, block(README, "response"))


@pytest.mark.parametrize("name", re.findall(r"<!-- request ([a-z-]+) -->", API))
def test_each_request_in_the_api_page_gets_the_answer_there(url: str, name: str) -> None:
    status, answer = post(url, block(API, f"request {name}"))
    if f"<!-- answer {name} {status} -->" in API:
        assert answer == block(API, f"answer {name} {status}")
    else:
        assert status == 200
        check_list(answer, block(API, f"answer {name}"))


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)`", README)) | {"demo", "test", "setup"} <= targets


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= LINES
