"""The contract's page in a real browser: it shows all operations, sends a request, and asks no other host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.service.contract.documents import admin_port, operations
from tests.service.live import HOST, Live, fake_model, live_app

CHROMIUM = Path("/usr/bin/chromium")
KEY = "a-key-of-the-test"
MILLISECONDS = 60_000

pytestmark = [pytest.mark.long, pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(browser: Browser, port: int) -> Iterator[Page]:
    """The page of a port; it may not complain, and may not ask any other host."""
    asked: list[str] = []
    said: list[str] = []
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"http://{HOST}:{port}/docs")
        page.locator(".opblock").first.wait_for()
        yield page
    assert [url for url in asked if not url.startswith((f"http://{HOST}:{port}/", "data:"))] == []
    assert f"http://{HOST}:{port}/openapi.json" in asked
    assert said == []


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_app(fake_model(), api_keys=KEY) as live:
        yield live


def test_it_shows_every_operation_and_schema(browser: Browser, live: Live) -> None:
    document = live.get("/openapi.json").json
    with opened(browser, live.port) as page:
        for _, _, operation in operations(document):
            assert page.locator(f"#operations-{operation['tags'][0]}-{operation['operationId']}").count() == 1
        expect(page.locator(".version-stamp")).to_contain_text("OAS 3.1")
        expect(page.locator("section.models")).to_contain_text("RerankRequest")
        assert page.locator(".errors-wrapper").count() == 0
        expect(page.locator("#pages").get_by_role("link")).to_have_text(["Listwright", "Playground"])


def test_it_sends_the_smallest_request_with_a_key(browser: Browser, live: Live) -> None:
    with opened(browser, live.port) as page:
        page.locator("button.authorize").first.click()
        page.locator(".auth-container input").fill(KEY)
        page.locator(".auth-btn-wrapper button.authorize").click()
        page.locator(".auth-btn-wrapper button.btn-done").click()
        page.locator("#operations-rerank-rerank .opblock-summary-control").click()
        page.locator(".try-out__btn").click()
        page.locator("button.execute").click()
        answer = page.locator(".live-responses-table .response")
        expect(answer.locator(".response-col_status")).to_have_text("200", timeout=MILLISECONDS)
        expect(answer).to_contain_text('"source": "model"')
    assert live.records[-1].candidates == 2
    assert live.records[-1].ignored_headers == ()


def test_it_shows_the_admin_port_as_well(browser: Browser) -> None:
    with admin_port() as port, opened(browser, port) as page:
        assert page.locator("#operations-admin-reload").count() == 1
        assert page.locator("#pages").is_hidden()  # This port has no other page.
