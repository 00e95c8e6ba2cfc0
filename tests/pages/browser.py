"""Chromium for tests and screenshots: found on the machine, never downloaded."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Final, Literal

from playwright.sync_api import Browser, Page, sync_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
Scheme = Literal["light", "dark"]


def find_chromium() -> str | None:
    """Return the path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextlib.contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    """Run a browser while the context lasts."""
    with sync_playwright() as playwright:
        # Without its own sandbox it also runs as root in a container; it only ever loads pages of 127.0.0.1 here.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def wait_for_lists(page: Page) -> None:
    """Wait until the lists of the last change are shown."""
    page.wait_for_selector("#lists[aria-busy=false] .side", timeout=60_000)
