"""What the README shows is what the service does: its request, its answer, its commands and its file tree."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from loadtest.rig.server import running_server
from models.contract.manifest import EMBEDDED_BUNDLES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
TOLERANCE = 1e-3


def block(name: str) -> Any:
    """The JSON block behind the comment ``<!-- name -->``."""
    found = re.search(rf"<!-- {name} -->\n```json\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md has no JSON block named {name}"
    return json.loads(found[1])


def test_the_request_in_the_readme_gets_the_answer_in_the_readme() -> None:
    body = json.dumps(block("request")).encode()
    with running_server(EMBEDDED_BUNDLES, options=("--budget-ms", "30000")) as server:
        request = urllib.request.Request(
            f"{server.url}/v1/rerank", body, {"content-type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
    shown = block("response")
    assert set(answer.pop("timings_ms")) == set(shown.pop("timings_ms"))
    assert answer.pop("value") == pytest.approx(shown.pop("value"), abs=TOLERANCE, rel=TOLERANCE)
    assert answer == shown


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)`", README)) | {"demo", "test", "setup"} <= targets


def test_every_file_that_the_readme_names_exists() -> None:
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", README, re.DOTALL)
    assert tree
    folder = ""
    for line in tree[1].splitlines():
        if not line.startswith(" "):
            folder = line.split()[0]
            assert (ROOT / folder).is_dir(), folder
        for name in re.findall(r"[a-z_]+\.py|^  [a-z]+/", line):
            found = list((ROOT / folder).rglob(name.strip().rstrip("/")))
            assert found, f"{folder} has no {name}"
    for link in re.findall(r"\]\(([a-z/_.A-Z]+)\)", README):
        assert (ROOT / link).exists(), link
