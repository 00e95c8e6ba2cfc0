"""The pages paint soon. The figure to look at is that of ``python -m tests.pages.first_paint``."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.pages.first_paint import first_paint_ms

pytestmark = pytest.mark.long

GENEROUS_MS = 5_000


@pytest.mark.parametrize("path", ["/", "/playground"])
def test_the_first_paint_is_soon(browser: Browser, url: str, path: str) -> None:
    taken = first_paint_ms(browser, url + path)
    print(f"{path}: first paint after {taken:.0f} ms")
    assert taken < GENEROUS_MS
