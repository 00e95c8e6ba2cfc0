"""The modules' plain functions, called in the browser that they are for."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.pages.browser import Watched

pytestmark = pytest.mark.long


@pytest.fixture
def loaded(shared: Watched) -> Watched:
    """A page of the service; which one does not matter here."""
    if not shared.page.url.startswith(shared.url):
        shared.page.goto(f"{shared.url}/")
    return shared


def call(watched: Watched, module: str, expression: str, argument: Any = None) -> Any:
    """Evaluate an expression over a module `m` and an argument `a`."""
    script = f"async a => {{ const m = await import('/pages/js/{module}.js'); return {expression} }}"
    return watched.page.evaluate(script, argument)


@pytest.mark.parametrize("most", [1e-9, 0.004, 0.37, 1, 1.0910, 2, 7.5, 10, 99.9, 123_456])
def test_the_ticks_of_an_axis_are_few_and_reach_the_top(loaded: Watched, most: float) -> None:
    ticks = call(loaded, "chart", "m.ticksTo(a)", most)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 6
    assert ticks[-2] < most <= ticks[-1] * (1 + 1e-9)


def test_one_seed_makes_one_request(loaded: Watched) -> None:
    model = {"queues": [{"name": "q", "score": "alpha*ctr + log_odds*price"}], "fallback": "cvr", "list_length": 5}
    number = {"name": "log_odds", "kind": "number", "values": [], "usual": 3}
    fields = {
        "user": [{"name": "age", "kind": "number", "values": [], "usual": 40}],
        "context": [{"name": "page", "kind": "hashed", "values": [], "usual": 0}],
        "item": [{"name": "colour", "kind": "category", "values": ["red", "blue"], "usual": 0}],
        "scores": [number],
        "width": 5,
    }
    made = [call(loaded, "generate", f"m.generate(a[0], a[1], 20, {seed})", [model, fields]) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    candidates = made[0]["candidates"]
    assert len({c["id"] for c in candidates}) == 20
    for candidate in candidates:
        assert candidate["scores"].keys() == {"ctr", "cvr", "log_odds"}
        assert 0 < candidate["scores"]["ctr"] <= 0.9
        assert candidate["features"]["colour"] in ("red", "blue")
        assert len(candidate["embedding"]) == 5
    assert [c["scores"]["ctr"] for c in candidates] == sorted((c["scores"]["ctr"] for c in candidates), reverse=True)
    assert 20 <= made[0]["user"]["age"] <= 60
    assert made[0]["context"]["page"].startswith("page-")


def test_a_link_works_without_compression(loaded: Watched) -> None:
    state = call(loaded, "state", "m.freshState()")
    state["text"] = "ü \u0000 '\" \n" * 50
    loaded.page.evaluate("() => { globalThis.kept = CompressionStream; delete globalThis.CompressionStream }")
    plain = call(loaded, "link", "m.writeLink(a)", state)
    loaded.page.evaluate("() => { globalThis.CompressionStream = kept }")
    compressed = call(loaded, "link", "m.writeLink(a)", state)
    assert plain[:3] == "#1p"
    assert compressed[:3] == "#1z"
    assert len(compressed) < len(plain) / 4
    for link in (plain, compressed):
        assert call(loaded, "link", "m.readLink(a)", link) == state


@pytest.mark.parametrize("link", ["#1z", "#1p", "#1pbnVsbA", "#1q123", "#1z!!!", "#1peyJzaWRlcyI6MX0", "#something"])
def test_a_link_that_is_none_is_refused(loaded: Watched, link: str) -> None:
    told = call(loaded, "link", "m.readLink(a).then(() => null, e => e.message)", link)
    assert told in ("the link is cut off or damaged", "the link is not one of this page")


@pytest.mark.parametrize(("asked", "taken"), [(1e9, 2000), (-3, 1), (2.6, 3)])
def test_a_link_makes_no_endless_request(loaded: Watched, asked: float, taken: int) -> None:
    state = call(loaded, "state", "m.freshState()")
    assert call(loaded, "state", "m.readState(a)", {**state, "count": asked}) == {**state, "count": taken}


def test_no_text_of_a_request_leaves_its_place_in_the_command(loaded: Watched) -> None:
    nasty = "'\"$(echo x)`echo y`\\\n$HOME\nREQUEST\n"
    request = {"candidates": [{"id": nasty, "scores": {}}]}
    command = call(loaded, "curl", 'm.curlCommand(a, "http://127.0.0.1:1/o\'x", false)', request)
    done = subprocess.run(
        ["bash", "-c", f"curl() {{ cat; }}\n{command}"], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == request
