"""What is late, broken or absent: the page says so, and goes on."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from playwright.sync_api import Error, Route

from tests.pages.browser import Watched
from tests.pages.test_playground import setting, slide

pytestmark = pytest.mark.long


@pytest.fixture
def routed(playground: Watched) -> Any:
    """A playground whose requests a test answers itself."""
    yield playground
    playground.page.unroute_all(behavior="ignoreErrors")


def paste(watched: Watched, request: Any) -> None:
    """Write a request and wait for its lists."""
    watched.page.evaluate("document.querySelector('#request-details').open = true")
    with watched.new_lists():
        watched.page.fill("#request", json.dumps(request))
        watched.page.locator("#request").blur()


def test_a_late_answer_to_an_older_request_is_not_shown(routed: Watched) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.fallback()
        else:
            held.append(route)

    page = routed.page
    page.route("**/v1/rerank", hold_the_first)
    slider = setting(page, "A", "A: γ, revenue, slider")
    with page.expect_request("**/v1/rerank"):
        slide(slider, 2)
    with routed.new_lists():
        slide(slider, 9)
    with contextlib.suppress(Error):  # The page has given the request up, which is how it stays silent.
        held[0].fulfill(response=held[0].fetch())
    page.evaluate("fetch('/v1/slo').then(reply => reply.text())")  # What was on its way has come by now.
    assert page.locator("section.side-A .card-head .note").inner_text().split(" · ")[2] == "γ 9"
    assert len(routed.ids("A")) == 10
    assert routed.runs() == 2


def test_fast_moves_of_a_slider_end_at_the_last(playground: Watched) -> None:
    slider = setting(playground.page, "A", "A: λ, value share, slider")
    with playground.new_lists():
        for hundredth in range(30, 90, 4):
            slide(slider, hundredth / 100)
    page = playground.page
    page.wait_for_function("() => document.querySelector('.side-A .card-head .note')?.textContent.includes('λ 0.86 ')")
    assert playground.sent[-2]["diversity"] == {"lambda": 0.86}


def test_a_service_that_is_gone_is_named_and_comes_back(routed: Watched) -> None:
    page = routed.page
    page.route("**/v1/rerank", lambda route: route.abort("connectionrefused"))
    with routed.new_lists():
        page.click("#run")
    assert page.locator("#lists .error").all_inner_texts() == ["The service does not answer."] * 2
    page.unroute_all(behavior="ignoreErrors")
    with routed.new_lists():
        page.click("#run")
    assert len(routed.ids("A")) == 10
    assert all("ERR_CONNECTION_REFUSED" in fault for fault in routed.faults)
    routed.faults.clear()


def test_a_start_without_models_is_tried_again_by_the_button(routed: Watched) -> None:
    page = routed.page
    routed.expected.add(503)
    page.goto("about:blank")
    problem = {"type": "about:blank", "title": "Overloaded", "status": 503, "detail": "Come back later."}
    page.route("**/v1/models", lambda route: route.fulfill(status=503, json=problem))
    page.goto(f"{routed.url}/playground")
    page.wait_for_selector("#page-error:not([hidden])")
    assert page.locator("#page-error").inner_text() == "Come back later."
    page.unroute_all(behavior="ignoreErrors")
    with routed.new_lists():
        page.click("#run")
    assert page.locator("#page-error").is_hidden()
    assert len(routed.ids("A")) == 10


def test_an_overloaded_service_is_named_at_the_lists(routed: Watched) -> None:
    routed.expected.add(503)
    problem = {"type": "about:blank", "title": "Overloaded", "status": 503, "detail": "Come back later."}
    routed.page.route("**/v1/rerank", lambda route: route.fulfill(status=503, json=problem))
    with routed.new_lists():
        routed.page.click("#run")
    assert routed.page.locator("#lists .error").all_inner_texts() == ["Overloaded: Come back later."] * 2


def test_a_list_without_the_model_says_so(routed: Watched) -> None:
    def bypass(route: Route) -> None:
        answer = route.fetch().json()
        items = [
            {**{name: value for name, value in item.items() if name != "explanation"}, "source": "formula"}
            for item in answer["items"]
        ]
        route.fulfill(json={**answer, "items": items, "value": {"click": 0, "conversion": 0, "gmv": 0}})

    page = routed.page
    page.route("**/v1/rerank", bypass)
    with routed.new_lists():
        page.click("#run")
    assert "Without the model: " in page.locator("section.side-A p.banner").inner_text()
    assert "No line for A: the model did not make this list." in page.locator("#chart").inner_text()
    assert page.locator("#values tbody td").all_inner_texts() == ["–"] * 9


def test_what_is_unfolded_stays_so(playground: Watched) -> None:
    page = playground.page
    page.click("section.side-A .timings summary")
    page.click("#chart-table summary")
    with playground.new_lists():
        slide(setting(page, "A", "A: γ, revenue, slider"), 8)
    assert page.locator(".results details[open]").evaluate_all("found => found.map(d => d.id)") == [
        "chart-table",
        "timings-A",
    ]


def test_a_line_that_no_part_tells_is_explained(playground: Watched) -> None:
    with playground.new_lists():
        slide(setting(playground.page, "A", "A: α, clicks, slider"), 0)
    slide(setting(playground.page, "A", "A: γ, revenue, slider"), 1)
    assert "No line for A: its weight α is 0" in playground.page.locator("#chart").inner_text()


def test_long_texts_stay_within_the_lists(playground: Watched) -> None:
    long = "x" * 120
    features = {"category": long, "style": long}
    scores = {"ctr": 0.1, "cvr": 0.1}
    paste(playground, {"candidates": [{"id": f"{long}{i}", "scores": scores, "features": features} for i in range(4)]})
    page = playground.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    inside = "e => e.scrollWidth <= e.clientWidth"
    assert all(slot.evaluate(inside) for slot in page.locator(".slot, .reasons").all())


def test_a_fault_of_the_candidates_is_told_once_with_its_field(playground: Watched) -> None:
    playground.expected.add(422)
    paste(playground, {"candidates": [{"id": 7, "scores": {"ctr": 0.1, "cvr": 0.1}}]})
    assert playground.page.locator("#request").get_attribute("aria-invalid") == "true"
    told = playground.page.locator("#request-details .field-error").all_inner_texts()
    assert len(told) == 1
    assert told[0].startswith("candidates[0].id: must be a string")
