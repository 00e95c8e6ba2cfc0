"""Chromium for tests and screenshots: found on the machine, never downloaded."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
Scheme = Literal["light", "dark"]
PATIENCE_MS: Final = 60_000
"""Longer than anything takes on a busy machine: what ends it is a failure."""


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


@dataclass
class Watched:
    """A page and all that it must not do: complain, fail, or leave its origin."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)
    """Statuses of answers that the test provokes; Chromium writes a line for each."""
    sent: list[Any] = field(default_factory=list)
    """Bodies of the requests for lists."""

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._note_request)

    def forget(self) -> None:
        """Begin anew: what was noted so far is another test's."""
        self.faults.clear()
        self.expected.clear()
        self.sent.clear()

    def open(self, path: str = "/playground") -> Page:
        """Load a page; of the playground, wait for its first lists."""
        self.page.goto(self.url + path)
        if path.startswith("/playground"):
            self.wait_for_run(0)
        return self.page

    def runs(self) -> int:
        """Count the results that the page has shown."""
        return int(self.page.get_attribute("#lists", "data-runs") or 0)

    def wait_for_run(self, before: int) -> None:
        """Wait until a result after those `before` is shown, and nothing is under way."""
        self.page.wait_for_function(
            "n => { const d = document.querySelector('#lists'); "
            "return Number(d.dataset.runs ?? 0) > n && d.getAttribute('aria-busy') === 'false' }",
            arg=before,
        )

    @contextlib.contextmanager
    def new_lists(self) -> Iterator[None]:
        """Wait for the result of what is done in the context."""
        before = self.runs()
        yield
        self.wait_for_run(before)

    def ids(self, side: str) -> list[str]:
        """Return the ids of a side's list, in order."""
        slots = self.page.locator(f".side-{side} .slot").all()
        return [slot.get_attribute("data-id") or "" for slot in slots]

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        status = re.search(r"responded with a status of (\d+)", message.text)
        if status is None or int(status[1]) not in self.expected:
            self.faults.append(f"{message.type}: {message.text} {message.location}")

    def _note_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc and not request.url.startswith("blob:"):
            self.faults.append(f"a request left the origin: {request.url}")
        if request.method == "POST":
            self.sent.append(request.post_data_json)
