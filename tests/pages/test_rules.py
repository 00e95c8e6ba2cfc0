"""Rules and scenes in the playground: what is edited is sent, and what they did is shown."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator

from tests.pages.browser import Watched
from tests.pages.conftest import OpenPage
from tests.pages.test_accessibility import findings, open_all
from tests.pages.test_playground import copied, setting

pytestmark = pytest.mark.long

RULES: dict[str, Any] = {
    "pinned": [{"id": "p3", "position": 2}],
    "blocked": ["p1"],
    "caps": [{"by": "brand", "limit": 2, "window": 5}, {"by": "brand", "limit": 4}],
    "floors": [{"by": "source", "value": "new", "least": 1, "within": 3}],
    "boosts": [{"where": {"source": "new", "brand": "b1"}, "factor": 1.5}],
}


def answered(request: dict[str, Any]) -> dict[str, Any]:
    """A made-up answer with all that rules may leave in one."""
    parts = {"click": 1.0, "conversion": 0.5, "gmv": 0.25}
    reasons = {"queue": "click", "parts": parts, "penalty": 0.1, "score": 1.3, "runner_up": None}
    items: list[dict[str, Any]] = [
        {"id": one["id"], "index": i, "position": i + 1, "source": "model", "explanation": dict(reasons)}
        for i, one in enumerate(request["candidates"][:3])
    ]
    items[1]["pinned"] = True
    items[2]["explanation"]["boost"] = 1.5
    items[2]["explanation"]["passed_over"] = [
        {"queue": "gmv", "id": "p9", "rule": "caps[0]"},
        {"queue": "gmv", "id": "p8", "rule": "pinned"},
        {"queue": "click", "id": "p7", "rule": "caps[0]"},
    ]
    return {
        "request_id": "r-1",
        "model": "demo",
        "version": "1",
        "items": items,
        "value": parts,
        "degraded": None,
        "timings_ms": dict.fromkeys(("decode", "deal", "encode", "wait", "infer", "total"), 1.0),
        "relaxed": ["floors[0]"],
    }


@pytest.fixture
def ruled(new_page: OpenPage) -> Iterator[Watched]:
    """A playground whose lists are made up."""
    watched = new_page()
    watched.page.route("**/v1/rerank", lambda route: route.fulfill(json=answered(route.request.post_data_json)))
    watched.open()
    yield watched
    watched.page.unroute_all(behavior="ignoreErrors")


def paste(watched: Watched, more: dict[str, Any]) -> None:
    """Write a request and wait for its lists."""
    candidates = [
        {"id": f"p{i}", "scores": {"ctr": 0.1, "cvr": 0.1}, "tags": {"brand": f"b{i % 2}", "source": "new"}}
        for i in range(6)
    ]
    watched.page.evaluate("document.querySelector('#request-details').open = true")
    with watched.new_lists():
        watched.page.fill("#request", json.dumps({"candidates": candidates, **more}))
        watched.page.locator("#request").blur()


def rules_of(watched: Watched, side: str = "A") -> Locator:
    """The editor of rules of one side, unfolded."""
    editor = watched.page.locator(f"fieldset.side-{side} details.rules")
    editor.evaluate("e => { e.open = true }")
    return editor


def change(watched: Watched, control: Locator, value: str) -> None:
    """Write into a control and wait for the lists."""
    with watched.new_lists():
        control.fill(value)
        control.press("Enter")


def test_a_new_rule_of_each_kind_is_proposed_from_the_candidates(ruled: Watched) -> None:
    paste(ruled, {})
    editor = rules_of(ruled)
    for name in ("pin", "blocked id", "cap", "floor", "boost"):
        with ruled.new_lists():
            editor.get_by_role("button", name=f"A: add {name}").click()
    assert ruled.sent[-2]["rules"] == {
        "pinned": [{"id": "p5", "position": 1}],
        "blocked": ["p0"],
        "caps": [{"by": "brand", "limit": 2}],
        "floors": [{"by": "brand", "value": "b0", "least": 1, "within": 5}],
        "boosts": [{"where": {"brand": "b0"}, "factor": 1.5}],
    }
    assert "rules" not in ruled.sent[-1]
    assert editor.locator("summary").inner_text() == "Rules (5, own)"


def test_a_pasted_requests_rules_are_in_the_controls_and_what_is_changed_is_sent(ruled: Watched) -> None:
    paste(ruled, {"rules": RULES})
    assert ruled.sent[-2]["rules"] == RULES
    editor = rules_of(ruled)
    change(ruled, editor.get_by_label("A: window of cap 1"), "")
    change(ruled, editor.get_by_label("A: position of pin 1"), "4")
    change(ruled, editor.get_by_label("A: condition of boost 1"), "brand=b0 & source=x=y")
    change(ruled, editor.get_by_label("A: value of floor 1"), "old")
    with ruled.new_lists():
        editor.get_by_role("button", name="A: remove cap 2").click()
    assert ruled.sent[-2]["rules"] == {
        **RULES,
        "pinned": [{"id": "p3", "position": 4}],
        "caps": [{"by": "brand", "limit": 2}],
        "floors": [{"by": "source", "value": "old", "least": 1, "within": 3}],
        "boosts": [{"where": {"brand": "b0", "source": "x=y"}, "factor": 1.5}],
    }
    with ruled.new_lists():
        editor.get_by_role("button", name="No rules").click()
    assert "rules" not in ruled.sent[-2]


def test_what_rules_did_is_shown(ruled: Watched) -> None:
    paste(ruled, {"rules": RULES})
    slots = ruled.page.locator(".side-A .slot")
    assert slots.locator(".pinned").all_inner_texts() == ["pinned"]
    assert slots.nth(1).locator(".pinned").count() == 1
    assert "brand b0" in slots.nth(0).locator(".what").inner_text()
    third = slots.nth(2).inner_text()
    assert "×1.5" in third
    told = [line.strip() for line in third.partition("Passed over")[2].strip().splitlines()]
    assert told[0] == "at most 2 of one brand in any 5: p9 (gmv), p7 (click)"
    assert told[1] == "pinned: p8 (gmv)"
    banner = ruled.page.locator("section.side-A p.warning").inner_text()
    assert banner == "Relaxed: could not be kept: floors[0] (at least 1 with source = new in the first 3)."
    assert "1 rule relaxed" in ruled.page.locator("#announcer").inner_text()


def test_links_and_commands_carry_rules(ruled: Watched) -> None:
    paste(ruled, {"rules": RULES})
    command = copied(ruled, "#copy-curl").split("\nREQUEST\n")[0].partition("<<'REQUEST'\n")[2]
    assert json.loads(command)["rules"] == RULES
    link = copied(ruled, "#copy-link")
    state = ruled.page.evaluate(
        "async f => (await import('/pages/js/link.js')).readLink(f)", "#" + link.partition("#")[2]
    )
    assert state["sides"]["A"]["rules"] == RULES
    assert state["sides"]["B"]["rules"] is None


@pytest.mark.parametrize(
    "rules",
    [
        [],
        {"pins": []},
        {"caps": None},
        {"caps": [{"by": "brand", "limit": "two"}]},
        {"caps": [{"by": "brand", "limit": 2, "size": 3}]},
        {"boosts": [{"where": {"a & b": "x"}, "factor": 2}]},
    ],
)
def test_rules_that_no_control_can_hold_are_sent_as_they_are(ruled: Watched, rules: Any) -> None:
    paste(ruled, {"rules": rules})
    assert ruled.sent[-2]["rules"] == rules


def test_a_refused_rule_is_marked_at_its_control(playground: Watched) -> None:
    playground.expected.add(422)
    paste(playground, {"rules": RULES})
    editor = rules_of(playground)
    change(playground, editor.get_by_label("A: limit of cap 2"), "0")
    limit = editor.get_by_label("A: limit of cap 2")
    assert limit.get_attribute("aria-invalid") == "true"
    assert editor.locator(".field-error").all_inner_texts() == ["Expected int >= 1"]
    change(playground, editor.get_by_label("A: factor of boost 1"), "")
    change(playground, limit, "1")
    assert editor.get_by_label("A: factor of boost 1").get_attribute("aria-invalid") == "true"


def test_a_scene_stands_in_for_the_bundles_defaults(playground: Watched) -> None:
    page = playground.page
    picker = setting(page, "A", "Scene")
    assert picker.locator("option").all_inner_texts() == ["none", "home-feed", "tiny-ruled", "tiny-shelf"]
    assert picker.input_value() == ""
    with playground.new_lists():
        picker.select_option("home-feed")
    assert playground.sent[-2]["scene"] == "home-feed"
    assert not {"objectives", "top_n", "rules"} & playground.sent[-2].keys()
    assert "scene" not in playground.sent[-1]
    assert setting(page, "A", "γ revenue").get_attribute("placeholder") == "3"
    assert setting(page, "A", "Items").get_attribute("placeholder") == "6"
    assert "γ 3" in page.locator("section.side-A .card-head .note").inner_text()
    assert len(playground.ids("A")) == 6
    assert "item-001" not in playground.ids("A")


def test_a_scenes_rules_are_shown_and_own_ones_stand_in_for_those_of_their_kind(playground: Watched) -> None:
    page = playground.page
    with playground.new_lists():
        setting(page, "A", "Scene").select_option("home-feed")
    editor = rules_of(playground)
    assert editor.locator("summary").inner_text() == "Rules (1, the scene's)"
    assert editor.get_by_label("A: blocked id 1").input_value() == "item-001"
    with playground.new_lists():
        editor.get_by_role("button", name="A: remove blocked id 1").click()
    assert playground.sent[-2]["rules"] == {"blocked": []}
    with playground.new_lists():
        editor.get_by_role("button", name="Use the scene's").click()
    assert "rules" not in playground.sent[-2]


def test_the_model_of_a_scene_is_asked_unless_another_is_chosen(playground: Watched) -> None:
    page = playground.page
    with playground.new_lists():
        setting(page, "B", "Scene").select_option("tiny-shelf")
    assert setting(page, "B", "Model").input_value().startswith("tiny@")
    assert "model" not in playground.sent[-1]
    assert page.locator("#list-B").inner_text().split()[1] == "tiny"
    with playground.new_lists():
        setting(page, "B", "Model").select_option("demo@1")
    assert (playground.sent[-1]["model"], playground.sent[-1]["scene"]) == ("demo", "tiny-shelf")


def test_what_a_scenes_rules_did_is_shown(playground: Watched) -> None:
    page = playground.page
    with playground.new_lists():
        setting(page, "A", "Scene").select_option("tiny-ruled")
    slots = page.locator(".side-A .slot")
    assert playground.ids("A")[2] == "item-017"
    assert slots.locator(".pinned").all_inner_texts() == ["pinned"]
    brands = [re.findall(r"brand (b\d)", text)[0] for text in slots.locator(".what").all_inner_texts()]
    assert all(one != other for one, other in itertools.pairwise(brands))
    banner = page.locator("section.side-A p.warning").first.inner_text()
    assert banner == "Relaxed: could not be kept: floors[0] (at least 1 with source = old in the first 3)."
    assert rules_of(playground).locator("summary").inner_text() == "Rules (3, the scene's)"
    assert page.locator("section.side-B .pinned").count() == 0


def test_a_link_to_a_scene_that_is_gone_says_so(new_page: OpenPage) -> None:
    watched = new_page()
    watched.expected.add(422)
    page = watched.page
    page.goto(f"{watched.url}/")
    link = page.evaluate(
        "async () => { const [s, l] = [await import('/pages/js/state.js'), await import('/pages/js/link.js')];"
        "const state = s.freshState(); state.sides.A.scene = 'gone'; return l.writeLink(state) }"
    )
    watched.open(f"/playground{link}")
    scene = setting(page, "A", "Scene")
    assert scene.get_attribute("aria-invalid") == "true"
    assert scene.locator("option").last.inner_text() == "gone (not live)"


def test_axe_finds_nothing_grave_in_rules(ruled: Watched) -> None:
    paste(ruled, {"rules": RULES})
    open_all(ruled.page)
    assert findings(ruled.page) == []
    ruled.page.set_viewport_size({"width": 360, "height": 740})
    assert ruled.page.evaluate("document.documentElement.scrollWidth") <= 360
