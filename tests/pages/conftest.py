"""A real service with two models and a real browser, shared by the tests of the pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from loadtest.rig.server import running_server
from models.contract.manifest import DEMO_BUNDLE
from tests.pages.browser import NAMES, Watched, chromium, find_chromium
from tests.service.tiny_bundle import Options, write_bundle

UNHURRIED = ("--budget-ms", "30000")
SCENES = """\
[scenes.home-feed]
model = "demo"
top_n = 6
objectives = { click = 1, gmv = 3 }
rules = { blocked = ["item-001"] }

[scenes.tiny-shelf]
model = "tiny"
partition = "dfs"

[scenes.tiny-ruled]
model = "tiny"

[scenes.tiny-ruled.rules]
pinned = [{ id = "item-017", position = 3 }]
caps = [{ by = "brand", limit = 1, window = 2 }]
floors = [{ by = "source", value = "old", least = 1, within = 3 }]
"""


@pytest.fixture(scope="package")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with time enough on any machine. With the demo model as default, a tiny one, and scenes."""
    folder = tmp_path_factory.mktemp("two")
    write_bundle(folder, Options(groups=32))
    shutil.copytree(DEMO_BUNDLE, folder / "demo" / "1")
    (folder / "scenes.toml").write_text(SCENES, "utf-8")
    with running_server(folder, options=(*UNHURRIED, "--default-model", "demo")) as server:
        yield server.url


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A Chromium of the machine. It ends with this package: while it runs, nothing else can run an event loop."""
    executable = find_chromium()
    if executable is None:
        pytest.skip(f"needs a Chromium: none of {', '.join(NAMES)} is here")
    with chromium(executable) as running:
        yield running


OpenPage = Callable[..., Watched]


@pytest.fixture
def new_page(browser: Browser, url: str) -> Iterator[OpenPage]:
    """Make pages in contexts of their own; at the end none of them may have had a fault."""
    pages: list[Watched] = []

    def make(address: str = url, **options: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        pages.append(Watched(context.new_page(), address))
        return pages[-1]

    yield make
    for watched in pages:
        watched.page.context.close()
    assert [fault for watched in pages for fault in watched.faults] == []


@pytest.fixture(scope="package")
def shared(browser: Browser, url: str) -> Iterator[Watched]:
    """One page for the tests that need no other context: it keeps its cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Watched(context.new_page(), url)
    context.close()


@pytest.fixture
def playground(shared: Watched) -> Iterator[Watched]:
    """A playground with its first lists; at the end it may have had no fault."""
    shared.page.goto("about:blank")
    shared.forget()
    shared.open()
    yield shared
    assert shared.faults == []
