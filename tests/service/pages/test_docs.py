"""The contract as a page: everything that it loads comes from the service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest

from tests.service.live import Live, fake_model, live_app

FILES = {"/docs": "text/html", "/docs/start.js": "text/javascript", "/docs/swagger-ui.css": "text/css"}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_app(fake_model()) as live:
        yield live


class Links(HTMLParser):
    """Everything that a page names, and whether it has a script of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.inline = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.names += [str(values[name]) for name in ("src", "href") if name in values]
        self.inline |= tag in ("script", "style") and "src" not in values
        self.inline |= any(name.startswith("on") or name == "style" for name in values)


def test_the_page_and_all_that_it_names_are_served(live: Live) -> None:
    page = Links()
    page.feed(live.get("/docs").body.decode())
    assert not page.inline
    assert {"docs/start.js", "docs/swagger-ui-bundle.js", "docs/swagger-ui.css"} <= set(page.names)
    for name in page.names:
        assert name == "data:," or live.get(urljoin("/docs", name)).status == 200


@pytest.mark.parametrize("path", FILES)
def test_our_own_parts_name_no_other_host(live: Live, path: str) -> None:
    reply = live.get(path)
    assert reply.headers["content-type"].startswith(FILES[path])
    if "swagger" not in path:
        assert not re.search(rb"https?://", reply.body)


def test_without_pages_there_is_none_of_it_but_the_document() -> None:
    with live_app(fake_model(), pages="off") as live:
        assert [live.get(path).status for path in (*FILES, "/docs/swagger-ui-bundle.js")] == [404] * 4
        assert live.get("/openapi.json").status == 200


def test_the_page_needs_no_key() -> None:
    with live_app(fake_model(), api_keys="secret") as live:
        assert live.get("/docs").status == 200
        assert live.get("/openapi.json").status == 200
