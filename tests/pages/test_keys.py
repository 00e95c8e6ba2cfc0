"""The pages of a service with API keys: open shells, closed data, and a key that goes nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loadtest.rig.server import running_server
from models.contract.manifest import EMBEDDED_BUNDLES
from tests.pages.conftest import UNHURRIED, OpenPage

pytestmark = pytest.mark.long

KEY = "a-key-of-this-test"


@pytest.fixture(scope="module")
def closed() -> Iterator[str]:
    """A service that needs a key."""
    environment = {"LISTWRIGHT_API_KEYS": KEY}
    with running_server(EMBEDDED_BUNDLES, options=UNHURRIED, environment=environment) as server:
        yield server.url


def test_a_key_opens_the_pages_and_is_in_no_text(new_page: OpenPage, closed: str) -> None:
    watched = new_page(closed)
    watched.expected.add(401)
    page = watched.page
    page.goto(f"{closed}/playground")
    page.wait_for_selector("#key-form:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "key"
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#key-note').textContent.includes('not one of')")
    assert watched.sent == []
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    watched.wait_for_run(0)
    assert len(watched.ids("A")) == 10
    assert page.locator("#key-form").is_hidden()

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for button in ("#copy-link", "#copy-curl"):
        page.click(button)
        page.wait_for_function("() => document.querySelector('#action-note').textContent.includes('copied')")
        assert KEY not in page.evaluate("navigator.clipboard.readText()")
    assert "Bearer $LISTWRIGHT_KEY" in page.evaluate("navigator.clipboard.readText()")
    assert KEY not in page.evaluate("JSON.stringify(localStorage)") + page.evaluate("document.cookie")

    page.goto(f"{closed}/")
    page.wait_for_selector("#models li")  # The tab keeps it,
    stranger = new_page(closed)
    stranger.expected.add(401)
    stranger.page.goto(f"{closed}/")  # and no other has it.
    stranger.page.wait_for_selector("#key-form:not([hidden])")
    assert stranger.page.locator("#models li").count() == 0
    stranger.page.fill("#key", "wrong")
    stranger.page.keyboard.press("Enter")
    stranger.page.wait_for_function("() => document.querySelector('#models-note').textContent.includes('not one of')")
    page.goto(f"{closed}/playground")
    page.click("#forget-key")
    page.wait_for_selector("#key-form:not([hidden])")
    assert page.evaluate("sessionStorage.length") == 0
