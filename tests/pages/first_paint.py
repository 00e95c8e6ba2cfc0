"""Time the first paint of both pages over loopback: ``python -m tests.pages.first_paint``.

Each load has an empty cache. What is printed are the browser's own entries, from the start of the navigation.
"""

from __future__ import annotations

import statistics
import sys

from playwright.sync_api import Browser

from loadtest.rig.server import running_server
from models.contract.manifest import EMBEDDED_BUNDLES
from tests.pages.browser import PATIENCE_MS, chromium, find_chromium

LOADS = 9
_PAINT = "performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0]"


def first_paint_ms(browser: Browser, address: str) -> float:
    """Load a page with an empty cache and return its first contentful paint."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.wait_for_function(f"() => {_PAINT} !== undefined", timeout=PATIENCE_MS)
    taken = float(page.evaluate(_PAINT))
    context.close()
    return taken


def main() -> int:
    """Print the median and the largest of some loads of each page."""
    executable = find_chromium()
    if executable is None:
        print("no Chromium is here", file=sys.stderr)
        return 2
    with running_server(EMBEDDED_BUNDLES) as server, chromium(executable) as browser:
        for path in ("/", "/playground"):
            times = [first_paint_ms(browser, server.url + path) for _ in range(LOADS)]
            print(f"{path:<12} first paint: median {statistics.median(times):.0f} ms, most {max(times):.0f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
