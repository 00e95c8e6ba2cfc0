"""Both pages for people who use a keyboard, a screen reader, a small screen, dark colours or no motion."""

from __future__ import annotations

import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

from tests.pages.browser import Watched
from tests.pages.conftest import OpenPage

pytestmark = pytest.mark.long

GRAVE = {"serious", "critical"}


def findings(page: Page) -> list[str]:
    """What axe-core calls serious or critical."""
    violations: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [f"{v['id']}: {[node['target'] for node in v['nodes']]}" for v in violations if v["impact"] in GRAVE]


def open_all(page: Page) -> None:
    """Open all that is folded."""
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"the keyboard does not reach {selector}")


def test_axe_finds_nothing_grave(new_page: OpenPage) -> None:
    watched = new_page()
    page = watched.open("/")
    page.wait_for_selector("#models li")
    assert findings(page) == []
    watched.open()
    open_all(page)
    assert findings(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_grave_in_any_state(new_page: OpenPage, scheme: str) -> None:
    watched = new_page(color_scheme=scheme)
    watched.expected.add(422)
    page = watched.open("/")
    page.wait_for_selector("#models li")
    told = {"entrance": findings(page)}
    watched.open()
    open_all(page)
    told["unfolded"] = findings(page)
    with watched.new_lists():
        page.locator("fieldset.side-A").get_by_label("Items").fill("0")
        page.keyboard.press("Enter")
    assert page.locator(".field-error").count() == 1
    told["refused"] = findings(page)
    scores = {"ctr": 0.1, "cvr": 0.1}
    for state, more in (("warnings", {}), ("degraded", {"timeout_ms": 0.001})):
        with watched.new_lists():
            page.fill("#request", json.dumps({"candidates": [{"id": "a", "scores": scores}], **more}))
            page.locator("#request").blur()
        assert page.locator(".banner.warning").count() > 0
        open_all(page)
        told[state] = findings(page)
    with watched.new_lists():
        page.uncheck("#compare")
    told["one side"] = findings(page)
    assert {state: found for state, found in told.items() if found} == {}


def test_the_keyboard_alone_is_enough(playground: Watched) -> None:
    page = playground.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to(page, "#compare")
    with playground.new_lists():
        page.keyboard.press("Space")
    assert page.locator("section.side-B").count() == 0
    tab_to(page, "[aria-label='A: γ, revenue, slider']")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    with playground.new_lists():
        page.keyboard.press("End")
    assert playground.sent[-1]["objectives"] == {"gmv": 10}
    told = page.locator("#announcer").inner_text()
    tab_to(page, "#auto")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "run"
    with playground.new_lists():
        page.keyboard.press("Enter")
    assert told.startswith("New lists. A: 10 items")


def test_without_running_at_every_change_only_the_button_runs(playground: Watched) -> None:
    page = playground.page
    page.uncheck("#auto")
    items = page.locator("fieldset.side-A").get_by_label("Items")
    items.fill("3")
    items.press("Enter")
    sent = len(playground.sent)
    with playground.new_lists():
        page.click("#run")
    assert len(playground.sent) == sent + 2
    assert len(playground.ids("A")) == 3


@pytest.mark.parametrize("path", ["/", "/playground"])
def test_nothing_is_wider_than_a_small_screen(new_page: OpenPage, path: str) -> None:
    watched = new_page(viewport={"width": 360, "height": 740})
    page = watched.open(path)
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_the_theme_is_the_systems_until_it_is_chosen(new_page: OpenPage) -> None:
    def ground(watched: Watched) -> str:
        return str(watched.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    watched = new_page(color_scheme="dark", reduced_motion="reduce")
    page = watched.open()
    dark = ground(watched)
    assert page.locator(".part").first.evaluate("e => getComputedStyle(e).transitionDuration") == "0s"
    page.emulate_media(color_scheme="light")
    light = ground(watched)
    assert sum(map(int, dark[4:-1].split(","))) < 150 < 600 < sum(map(int, light[4:-1].split(",")))
    page.click("#theme")
    page.click("#theme")
    assert page.locator("#theme").inner_text() == "Theme: dark"
    assert ground(watched) == dark
    watched.open("/")
    assert ground(watched) == dark
