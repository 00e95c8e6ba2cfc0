"""Hold what docs/api.md says of rules and scenes to a service that has a graph for rules."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.rig.server import running_server
from models.contract.manifest import DEMO_BUNDLE, Limits
from tests.service.tiny_bundle import Options, write_bundle
from tests.test_readme import API, block, post


def scenes() -> str:
    """The file of scenes on the page."""
    found = re.search(r"<!-- scenes -->\n+```toml\n(.*?)```", API, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module", params=["tiny", "demo"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with the page's scenes: what rules decide is the same for every model."""
    folder = tmp_path_factory.mktemp("ruled")
    if request.param == "demo":
        shutil.copytree(DEMO_BUNDLE, folder / "demo" / "1")
    else:
        write_bundle(folder, Options(name="demo", limits=Limits(list_length=4, queues=3), groups=32))
    _write(folder)
    with running_server(folder, options=("--budget-ms", "30000")) as server:
        yield server.url


def _write(folder: Path) -> None:
    (folder / "scenes.toml").write_text(scenes(), "utf-8")


def part_like(told: Any, shown: Any) -> Any:
    """What an answer says of the keys that are shown of it."""
    return {key: part_like(told.get(key), shown[key]) for key in shown} if isinstance(shown, dict) else told


@pytest.mark.long
@pytest.mark.parametrize("name", re.findall(r"<!-- ruled ([a-z-]+) -->", API))
def test_what_the_rules_decide_is_as_shown(url: str, name: str) -> None:
    status, answer = post(url, block(API, f"ruled {name}"))
    if f"<!-- ruled-answer {name} {status} -->" in API:
        assert answer == block(API, f"ruled-answer {name} {status}")
        return
    assert status == 200, answer
    shown = block(API, f"ruled-answer {name}")
    assert answer["request_id"] == shown["request_id"]
    assert answer["degraded"] is None
    assert len(answer["items"]) == shown["length"]
    assert sorted(answer.get("relaxed", [])) == sorted(shown.get("relaxed", []))
    assert [warning for warning in answer.get("warnings", []) if warning["field"].startswith("rules")] == shown.get(
        "warnings", []
    )
    for item in shown["items"]:
        assert part_like(answer["items"][item["position"] - 1], item) == item
    assert [i["id"] for i in answer["items"] if i.get("pinned")] == [i["id"] for i in shown["items"] if i.get("pinned")]


@pytest.mark.long
def test_the_cap_of_the_first_example_leaves_two_of_a_brand(url: str) -> None:
    _, answer = post(url, block(API, "ruled all-kinds"))
    assert {item["id"] for item in answer["items"]} == {"b1", "ad-7"} | {
        item["id"] for item in answer["items"] if item["id"] in ("a1", "a2", "a3")
    }


@pytest.mark.long
def test_all_blocked_is_an_empty_list(url: str) -> None:
    sent = {"candidates": [{"id": "a", "scores": {"ctr": 0.1, "cvr": 0.1}}], "rules": {"blocked": ["a"]}}
    status, answer = post(url, sent)
    assert (status, answer["items"]) == (200, [])


@pytest.mark.long
def test_scenes_are_listed_as_shown(url: str) -> None:
    with urllib.request.urlopen(f"{url}/v1/scenes", timeout=60) as response:
        assert json.load(response) == block(API, "live-scenes")
