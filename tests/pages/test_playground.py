"""The playground in a real browser, against a real service."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route

from tests.pages.browser import Watched
from tests.pages.conftest import OpenPage

pytestmark = pytest.mark.long


def setting(page: Page, side: str, label: str) -> Locator:
    """A control of one side, by its label."""
    return page.locator(f"fieldset.side-{side}").get_by_label(label, exact=False)


def slide(slider: Locator, value: float) -> None:
    """Drag a slider to a value."""
    slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value)


def copied(watched: Watched, button: str) -> str:
    """Press a button that copies, and return the clipboard."""
    page = watched.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.bring_to_front()
    page.click(button)
    page.wait_for_function("() => document.querySelector('#action-note').textContent.includes('copied')")
    return str(page.evaluate("navigator.clipboard.readText()"))


def cells(table: Locator) -> list[list[str]]:
    """The text of a table's body, row by row."""
    return [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]


@pytest.fixture(scope="module")
def first_view(browser: Browser, url: str) -> Iterator[Watched]:
    """A playground with its first lists, for tests that change none of them."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context.new_page(), url)
    watched.open()
    yield watched
    context.close()
    assert watched.faults == []


def test_the_first_view_has_two_lists_with_reasons(first_view: Watched) -> None:
    page = first_view.page
    assert len(first_view.ids("A")) == len(first_view.ids("B")) == 10
    assert first_view.ids("A") != first_view.ids("B")
    slot = page.locator(".side-A .slot").first
    told = [title.split("\n")[1] for title in slot.locator(".numbers dt").all_inner_texts()]
    assert told[:4] == ["Clicks", "Purchases", "Revenue", "Diversity penalty"]
    assert re.search(r"queue\s+(click|conversion|gmv|formula)", slot.inner_text())
    assert re.search(r"in \d+", slot.locator(".moves").inner_text())
    assert re.search(r"B \d+|not in B", slot.locator(".moves").inner_text())
    assert page.locator(".legend .mark svg").count() == 4
    assert "New lists. A: 10 items" in page.locator("#announcer").inner_text()


def test_the_bars_are_as_long_as_the_parts(first_view: Watched) -> None:
    slots = first_view.page.locator(".side-A .slot").all()[:3]
    shares = []
    for slot in slots:
        clicks = float(slot.locator(".numbers .click dd").inner_text())
        width = slot.locator(".part.click").evaluate("e => parseFloat(e.style.width)")
        shares.append(width / clicks)
    assert shares == pytest.approx([shares[0]] * 3, rel=0.01)


def test_the_value_by_position_ends_at_the_value_of_the_list(first_view: Watched) -> None:
    page = first_view.page
    page.click(".as-table summary")
    for row, measure in enumerate(("click", "conversion", "gmv")):
        page.select_option("#measure", measure)
        last = cells(page.locator(".as-table table"))[-1]
        whole = cells(page.locator("table.values"))[row]
        assert [float(v) for v in last[1:]] == pytest.approx([float(v) for v in whole[1:3]], rel=2e-3, abs=6e-3)
    assert "Cumulative value by position" in (page.locator("svg.chart").get_attribute("aria-label") or "")


def test_a_slider_changes_the_list(playground: Watched) -> None:
    before, other = playground.ids("A"), playground.ids("B")
    with playground.new_lists():
        slide(setting(playground.page, "A", "A: γ, revenue, slider"), 10)
    assert playground.ids("A") != before
    assert playground.ids("B") == other
    assert playground.sent[-2]["objectives"] == {"gmv": 10}
    assert setting(playground.page, "A", "γ revenue").input_value() == "10"


def test_every_setting_reaches_the_service(playground: Watched) -> None:
    page = playground.page
    for label, value in (("λ value share", "0.5"), ("w window", "2"), ("Items", "6")):
        with playground.new_lists():
            control = setting(page, "A", label)
            control.fill(value)
            control.press("Enter")
    with playground.new_lists():
        setting(page, "A", "Dealing").select_option("dfs")
    queues = page.locator("fieldset.side-A details.queues")
    queues.locator("summary").click()
    with playground.new_lists():
        queues.get_by_label("A: formula of queue 1").fill("ctr*price")
        queues.get_by_label("A: formula of queue 1").press("Enter")
    asked = playground.sent[-2]
    assert asked["diversity"] == {"lambda": 0.5, "window": 2}
    assert (asked["top_n"], asked["partition"], asked["explain"]) == (6, "dfs", True)
    assert asked["queues"][0] == {"name": "click", "score": "ctr*price"}
    assert len(asked["queues"]) == 4
    assert len(playground.ids("A")) == 6
    with playground.new_lists():
        page.locator("fieldset.side-A").get_by_role("button", name="Bundle's defaults").click()
    assert not {"diversity", "top_n", "partition", "queues"} & playground.sent[-2].keys()


def test_one_setting_alone(playground: Watched) -> None:
    with playground.new_lists():
        playground.page.uncheck("#compare")
    assert playground.page.locator(".side-B").filter(visible=True).count() == 0
    assert "not in" not in playground.page.locator("#lists").inner_text()


def test_a_pasted_request_brings_its_settings(playground: Watched) -> None:
    candidates = [{"id": f"p{i}", "scores": {"ctr": 0.1 + i / 100, "cvr": 0.1}, "price": 5} for i in range(5)]
    body = {"candidates": candidates, "objectives": {"click": 2, "gmv": 3}, "diversity": {"lambda": 1}, "top_n": 4}
    page = playground.page
    page.click("#request-details summary")
    with playground.new_lists():
        page.fill("#request", json.dumps(body))
        page.locator("#request").blur()
    assert setting(page, "A", "α clicks").input_value() == "2"
    assert setting(page, "A", "Items").input_value() == "4"
    assert set(playground.ids("A")) <= {c["id"] for c in candidates}
    assert len(playground.ids("A")) == 4
    assert playground.sent[-2] == {**body, "explain": True}
    assert "5 candidates, as written" in page.locator("#request-size").inner_text()


def test_a_link_reproduces_lists_and_settings(playground: Watched, new_page: OpenPage) -> None:
    with playground.new_lists():
        slide(setting(playground.page, "B", "B: λ, value share, slider"), 0.3)
    with playground.new_lists():
        playground.page.click("#generate")
    link = copied(playground, "#copy-link")
    assert len(link) < 700
    other = new_page()
    other.open(link.removeprefix(other.url))
    assert [other.ids(side) for side in "AB"] == [playground.ids(side) for side in "AB"]
    assert setting(other.page, "B", "λ value share").input_value() == "0.3"


@pytest.mark.slow
def test_a_link_carries_a_pasted_request(playground: Watched, new_page: OpenPage) -> None:
    page = playground.page
    page.click("#request-details summary")
    scores = '"scores": {"ctr": 0.2, "cvr": 0.1}'
    text = f'{{"candidates":   [{{"id": "ü one", {scores}}}, {{"id": "b", {scores}}}]}}'
    with playground.new_lists():
        page.fill("#request", text)
        page.locator("#request").blur()
    link = copied(playground, "#copy-link")
    other = new_page()
    other.open(link.removeprefix(other.url))
    assert other.page.input_value("#request") == text
    assert sorted(other.ids("A")) == ["b", "ü one"]


@pytest.mark.slow
def test_a_damaged_link_says_so_and_the_page_works(new_page: OpenPage) -> None:
    watched = new_page()
    page = watched.open("/playground#1zAAAA")
    assert page.locator("#action-note").inner_text() == "the link is cut off or damaged"
    assert len(watched.ids("A")) == 10


def test_the_curl_text_works_in_a_shell(playground: Watched) -> None:
    text = copied(playground, "#copy-curl")
    commands = re.split(r"(?<=\nREQUEST\n)\n", text)
    assert len(commands) == 2
    for side, command in zip("AB", commands, strict=True):
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=60)
        assert [item["id"] for item in json.loads(done.stdout)["items"]] == playground.ids(side)


def test_the_downloaded_request_is_the_one_that_was_sent(playground: Watched, tmp_path: Path) -> None:
    playground.page.uncheck("#compare")
    with playground.page.expect_download() as download:
        playground.page.click("#download")
    download.value.save_as(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == playground.sent[0]


def test_a_refused_setting_is_marked(playground: Watched) -> None:
    playground.expected.add(422)
    page = playground.page
    for label, value, problem in (("λ value share", "2", "<= 1"), ("Items", "0", ">= 1")):
        control = setting(page, "A", label)
        with playground.new_lists():
            control.fill(value)
            control.press("Enter")
        assert control.get_attribute("aria-invalid") == "true"
        assert problem in page.locator(f"#{control.get_attribute('aria-describedby')}").inner_text()
        assert "No list" in page.locator("section.side-A").inner_text()
        assert len(playground.ids("B")) == 10
        with playground.new_lists():
            control.fill("")
            control.press("Enter")
        assert page.locator("[aria-invalid]").count() == 0


def test_a_formula_without_its_score_is_marked_in_its_queue(playground: Watched) -> None:
    playground.expected.add(422)
    queues = playground.page.locator("fieldset.side-B details.queues")
    queues.locator("summary").click()
    formula = queues.get_by_label("B: formula of queue 2")
    with playground.new_lists():
        formula.fill("ctr*margin")
        formula.press("Enter")
    assert queues.get_by_label("B: formula of queue 2").get_attribute("aria-invalid") == "true"
    assert "margin" in queues.locator(".field-error").inner_text()


def test_text_that_is_no_json_is_not_sent(playground: Watched) -> None:
    page, sent = playground.page, len(playground.sent)
    page.click("#request-details summary")
    page.fill("#request", '{"candidates": [}')
    page.locator("#request").blur()
    page.wait_for_selector("#request[aria-invalid=true]")
    assert "not JSON" in page.locator("#request-details .field-error").inner_text()
    page.click("#run")
    slide(setting(page, "A", "A: γ, revenue, slider"), 10)
    assert page.input_value("#request") == '{"candidates": [}'
    assert len(playground.sent) == sent
    with playground.new_lists():
        page.click("#generate")
    assert page.locator("[aria-invalid]").count() == 0
    assert len(playground.sent) == sent + 2


def test_a_setting_of_the_wrong_type_in_a_pasted_request_is_sent_as_it_is(playground: Watched) -> None:
    playground.expected.add(422)
    page = playground.page
    page.click("#request-details summary")
    with playground.new_lists():
        page.fill("#request", '{"candidates": [{"id": "a", "scores": {"ctr": 0.1, "cvr": 0.1}}], "top_n": "five"}')
        page.locator("#request").blur()
    assert playground.sent[-2]["top_n"] == "five"
    assert setting(page, "A", "Items").get_attribute("aria-invalid") == "true"


def test_a_degraded_list_says_why(playground: Watched) -> None:
    page = playground.page
    body = {"candidates": [{"id": i, "scores": {"ctr": 0.1, "cvr": 0.1}} for i in "abc"], "timeout_ms": 0.001}
    page.click("#request-details summary")
    with playground.new_lists():
        page.fill("#request", json.dumps(body))
        page.locator("#request").blur()
    assert re.search(r"Degraded \((wait|deadline)\)", page.locator("section.side-A p.banner").inner_text())
    assert re.search("score formula|as in the request", page.locator("section.side-A .slot").first.inner_text())


def test_warnings_are_shown(new_page: OpenPage) -> None:
    def add_warning(route: Route) -> None:
        answer: dict[str, Any] = route.fetch().json()
        warning = {"field": "item.brand", "problem": "missing", "detail": "no candidate has it"}
        route.fulfill(json={**answer, "warnings": [warning]})

    watched = new_page()
    watched.page.route("**/v1/rerank", add_warning)
    page = watched.open()
    page.click("section.side-A .warning summary")
    assert "item.brand (missing): no candidate has it" in page.locator("section.side-A .warning").inner_text()


def test_the_timings_stand_beside_the_budget(first_view: Watched) -> None:
    timings = first_view.page.locator("section.side-A .timings")
    assert re.search(r"[\d.]+ ms, within the budget of 30000 ms", timings.inner_text())
    timings.locator("summary").click()
    stages = timings.locator(".stages dt").all_inner_texts()
    assert stages == ["decode", "deal", "encode", "wait", "infer", "other"]
