"""Make the pictures of docs/report.md: ``python -m tests.pages.report_screenshots [RUN]``.

Of a run's folder, or of made-up numbers.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser

from models.reporting.contents import Contents
from models.reporting.page import render
from tests.documents import ROOT
from tests.models.reporting.sample import sample
from tests.pages.browser import Scheme, Watched, chromium, find_chromium
from tests.pages.screenshots import shrink

FOLDER: Final = ROOT / "docs" / "report"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: a screen, a colour scheme, and the part that is at its top."""

    name: str
    width: int
    height: int
    scheme: Scheme
    part: str = "body"
    alone: bool = False
    """Show nothing but the part."""


PICTURES: Final = (
    Picture("light", 1440, 1240, "light"),
    Picture("table", 1440, 1240, "light", ".table", alone=True),
    Picture("dark", 1440, 1180, "dark", ".charts"),
    Picture("lists", 1440, 1240, "light", ".pair", alone=True),
    Picture("narrow", 390, 1180, "light", ".charts"),
)


def take(picture: Picture, browser: Browser, page_file: Path, folder: Path) -> bool:
    """Take one picture; tell whether the page has that part."""
    screen = {"width": picture.width, "height": picture.height}
    context = browser.new_context(viewport=screen, color_scheme=picture.scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page = Watched(context.new_page(), "file://").open(str(page_file))
    part = page.locator(picture.part).first
    there = part.count() > 0
    file = folder / f"{picture.name}.png"
    if there and picture.alone:
        part.screenshot(path=file)
    elif there:
        part.evaluate("e => e.scrollIntoView()")
        page.screenshot(path=file)
    context.close()
    if there:
        shrink(file)
    return there


def main(arguments: list[str]) -> int:
    """Take all pictures."""
    executable = find_chromium()
    if executable is None:
        print("no Chromium is here", file=sys.stderr)
        return 2
    contents = Contents.read(Path(arguments[0])) if arguments else sample()
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium(executable) as browser:
        page_file = Path(folder) / "report.html"
        page_file.write_text(render({arguments[0] if arguments else "sample": contents}), "utf-8")
        for picture in PICTURES:
            there = take(picture, browser, page_file, FOLDER)
            size = (FOLDER / f"{picture.name}.png").stat().st_size if there else 0
            print(f"{picture.name}.png: {size / 1024:.0f} KiB" if there else f"{picture.name}: the page has none")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
