"""Make the pictures of docs/playground.md: ``python -m tests.pages.screenshots``.

Lists are the same at every run. Times are not: it waits a minute for answers within the budget.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser

from loadtest.rig.server import running_server
from models.contract.manifest import DEMO_BUNDLE
from tests.documents import ROOT
from tests.pages.browser import Scheme, Watched, chromium, find_chromium

FOLDER: Final = ROOT / "docs" / "playground"
PATIENCE_SECONDS: Final = 60
# The budget is only looked at, so that the lists are the model's on a busy machine too.
OPTIONS: Final = ("--deadline-mode", "observe")
# No item is a video, so that a relaxed rule is in the picture.
SCENES: Final = """\
[scenes.home-feed.rules]
pinned = [{ id = "item-017", position = 3 }]
caps = [{ by = "brand", limit = 2, window = 5 }]
floors = [{ by = "source", value = "video", least = 1, within = 5 }]
"""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: a page, a screen and a colour scheme."""

    name: str
    path: str
    width: int
    height: int
    scheme: Scheme
    error: bool = False
    scene: bool = False


PICTURES: Final = (
    Picture("light", "/playground", 1440, 1180, "light"),
    Picture("dark", "/playground", 1440, 1180, "dark"),
    Picture("narrow-light", "/playground", 390, 1560, "light"),
    Picture("narrow-dark", "/playground", 390, 1560, "dark"),
    Picture("refused", "/playground", 1440, 760, "light", error=True),
    Picture("rules", "/playground", 1440, 1180, "light", scene=True),
    Picture("entrance-light", "/", 1280, 800, "light"),
    Picture("entrance-dark", "/", 1280, 800, "dark"),
)


def take(picture: Picture, browser: Browser, url: str, folder: Path) -> None:
    """Take one picture."""
    screen = {"width": picture.width, "height": picture.height}
    context = browser.new_context(viewport=screen, color_scheme=picture.scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    watched = Watched(context.new_page(), url)
    page = watched.open(picture.path)
    if picture.path == "/":
        page.wait_for_selector("#models li")
    if picture.error:
        with watched.new_lists():
            page.locator("fieldset.side-A").get_by_label("λ value share").fill("2")
            page.keyboard.press("Enter")
    if picture.scene:
        _choose_scene(watched)
    _wait_for_good_times(watched)
    file = folder / f"{picture.name}.png"
    page.screenshot(path=file)
    context.close()
    shrink(file)


def shrink(file: Path) -> None:
    """Write a picture with 256 colours: enough for it, and a third of the size."""
    with Image.open(file) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def _choose_scene(watched: Watched) -> None:
    """Show the same settings with the scene and without it."""
    with watched.new_lists():
        watched.page.get_by_role("button", name="Same as A").click()
    with watched.new_lists():
        watched.page.locator("fieldset.side-A").get_by_label("Scene").select_option("home-feed")
    watched.page.locator("fieldset.side-A details.rules").evaluate("e => { e.open = true }")


def _wait_for_good_times(watched: Watched) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while watched.page.locator(".total.over").count() and time.monotonic() < deadline:
        with watched.new_lists():
            watched.page.evaluate("document.querySelector('#run').click()")  # The focus stays where it is.


def main() -> int:
    """Take all pictures."""
    executable = find_chromium()
    if executable is None:
        print("no Chromium is here", file=sys.stderr)
        return 2
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(DEMO_BUNDLE, Path(folder) / "demo" / "1")
        (Path(folder) / "scenes.toml").write_text(SCENES, "utf-8")
        with running_server(Path(folder), options=OPTIONS) as server, chromium(executable) as browser:
            for picture in PICTURES:
                take(picture, browser, server.url, FOLDER)
                size = (FOLDER / f"{picture.name}.png").stat().st_size
                print(f"{picture.name}.png: {size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
