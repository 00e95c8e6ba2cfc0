"""Two models side by side, and a request that is made for the model of A."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pages.browser import Watched
from tests.pages.conftest import OpenPage

pytestmark = pytest.mark.long


def test_two_models_are_shown_side_by_side(playground: Watched) -> None:
    page = playground.page
    models = page.locator("fieldset.side-B").get_by_label("Model").locator("option")
    assert models.first.inner_text() == "demo 1 (default)"
    tiny = models.nth(1).get_attribute("value") or ""
    with playground.new_lists():
        page.locator("fieldset.side-B").get_by_label("Model").select_option(tiny)
    assert page.locator("#list-A").inner_text().split() == ["A", "demo", "1"]
    assert page.locator("#list-B").inner_text().split() == ["B", *tiny.split("@")]
    assert (len(playground.ids("A")), len(playground.ids("B"))) == (10, 5)
    assert {"Queues A", "Queues B"} <= set(page.locator("#legend h2").all_inner_texts())
    asked = playground.sent[-1]["candidates"]

    with playground.new_lists():
        page.locator("fieldset.side-A").get_by_label("Model").select_option(tiny)
    assert len(playground.ids("A")) == 5
    assert playground.sent[-2]["model"] == tiny.split("@")[0]
    assert {c["id"] for c in playground.sent[-2]["candidates"]} == {c["id"] for c in asked}


def test_the_example_is_that_of_the_model_of_a(playground: Watched, url: str) -> None:
    page = playground.page
    model = page.locator("fieldset.side-A").get_by_label("Model")
    tiny = model.locator("option").nth(1).get_attribute("value") or ""
    with playground.new_lists():
        model.select_option(tiny)
    page.click("#request-details summary")
    with playground.new_lists():
        page.click("#example")
    told: dict[str, Any] = page.request.get(f"{url}/v1/models/{tiny.split('@')[0]}").json()
    name, version = tiny.split("@")
    assert playground.sent[-2] == {**told["example"], "model": name, "version": version, "explain": True}
    assert len(playground.ids("A")) == told["example"]["top_n"]


def test_a_link_to_a_model_that_is_gone_says_so(new_page: OpenPage) -> None:
    watched = new_page()
    watched.expected.add(422)
    page = watched.page
    page.goto(f"{watched.url}/")
    link = page.evaluate(
        "async () => { const [s, l] = [await import('/pages/js/state.js'), await import('/pages/js/link.js')];"
        "const state = s.freshState(); state.sides.A.model = 'gone@1'; return l.writeLink(state) }"
    )
    watched.open(f"/playground{link}")
    model = page.locator("fieldset.side-A").get_by_label("Model")
    assert model.get_attribute("aria-invalid") == "true"
    assert model.locator("option").last.inner_text() == "gone@1 (not live)"
