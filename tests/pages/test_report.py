"""The page of `listwright report` in a real browser: colours, small screens, keyboard, screen readers, print."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from models.reporting.page import render
from tests.models.reporting.sample import sample
from tests.pages.browser import Scheme, Watched
from tests.pages.test_accessibility import findings, open_all, tab_to

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render({"runs/a": sample(), "runs/b": sample("Another run (made-up numbers)")}), "utf-8")
    return path


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> Scheme:
    chosen: Scheme = request.param
    return chosen


@pytest.fixture(scope="module")
def watched(browser: Browser) -> Iterator[Watched]:
    """One page for all tests; at the end it may have had no fault and loaded nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    made = Watched(context.new_page(), "file://")
    yield made
    context.close()
    assert made.faults == []


@pytest.fixture
def page(watched: Watched, file: Path) -> Page:
    """The report, as it is when it is opened on a wide screen."""
    watched.page.set_viewport_size({"width": 1280, "height": 900})
    watched.page.emulate_media(media="screen", color_scheme="light")
    return watched.open(str(file))


def test_axe_finds_nothing_grave(watched: Watched, scheme: Scheme, tmp_path: Path) -> None:
    """On one of each part: the time that it takes grows with the page."""
    whole = sample()
    tables = [replace(table, rows=[*table.rows[:3], *table.rows[-6:]]) for table in whole.tables[:1]]
    brief = replace(whole, tables=tables, charts=whole.charts[:5:2], pairs=whole.pairs[:1])
    (tmp_path / "brief.html").write_text(render({"run": brief}), "utf-8")
    watched.page.emulate_media(color_scheme=scheme)
    page = watched.open(str(tmp_path / "brief.html"))
    open_all(page)
    assert findings(page) == []


def test_colours_follow_the_system_in_charts_too(page: Page) -> None:
    look = (
        "() => [document.body, document.querySelector('figure svg text'), document.querySelector('figure use')]"
        ".map((e, i) => getComputedStyle(e)[i ? 'fill' : 'backgroundColor'])"
    )
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(look)
    assert all(a != b for a, b in zip(light, dark, strict=True))

    def brightness(color: str) -> int:
        return sum(map(int, color[4:-1].split(",")))

    assert brightness(dark[0]) < 150 < 600 < brightness(light[0])
    assert brightness(light[1]) < 400 < brightness(dark[1])


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # What a table or a list has more, scrolls inside it; charts fit whole.
    assert page.evaluate("Math.max(...[...document.querySelectorAll('figure > svg')].map(e => e.clientWidth))") <= width


def test_first_columns_stay_while_a_wide_table_scrolls(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    table = page.locator(".table .scroll").first
    head = table.locator("tbody th[scope=row]").first
    before = head.bounding_box()
    table.evaluate("e => { e.scrollLeft = 200 }")
    after = head.bounding_box()
    assert table.evaluate("e => e.scrollLeft") == 200
    assert before is not None
    assert after is not None
    assert after["x"] == pytest.approx(before["x"], abs=1)


def test_a_click_on_a_head_sorts_each_group_and_what_failed_comes_last(page: Page) -> None:
    table = page.locator(".table").first
    group = table.locator("tbody").filter(has_text="SORT-Gen and DeGRe")

    def order() -> list[str]:
        return [text.split("\n")[0] for text in group.locator("th[scope=row]").all_inner_texts()]

    before = order()
    click = table.get_by_role("button", name="CLICK")
    click.click()
    assert order() == ["SORT-Gen, beam 8", "DeGRe", "SORT-Gen", "SORT-Gen as in the paper"]
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    click.press("Enter")
    assert order() == ["SORT-Gen as in the paper", "SORT-Gen", "DeGRe", "SORT-Gen, beam 8"]
    generators = table.locator("tbody").filter(has_text="NLGR-G")
    assert generators.locator("th[scope=row]").all_inner_texts()[-1].startswith("NLGR-G")
    table.get_by_role("button", name="method").click()
    assert order() == sorted(before)
    assert group.locator("tr").first.inner_text() == "SORT-Gen and DeGRe"


def test_the_keyboard_reaches_the_runs_the_heads_and_the_numbers(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to(page, ".switcher a")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#run-another-run-made-up-numbers"
    tab_to(page, ".table th button")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.locator("#run-another-run-made-up-numbers figure .numbers summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#run-another-run-made-up-numbers figure .numbers table").first.is_visible()


def test_the_contents_mark_the_part_in_view(page: Page) -> None:
    section, part = (page.locator(".contents a", has_text=text).first for text in ("Parts of SORT-Gen", "Ablations"))
    part.wait_for(state="hidden")
    section.click()
    part.wait_for()
    part.click()
    page.locator(".contents [aria-current]", has_text="Ablations").wait_for()
    assert page.locator(".contents [aria-current]").count() == 1
    assert page.locator(".contents .within:visible").count() == 1


def test_an_item_is_marked_in_both_lists_under_the_pointer(page: Page) -> None:
    pair = page.locator(".pair").first
    pair.locator("[data-item='item-018'] th").first.hover()
    assert pair.locator(".same").count() == 2
    page.locator("h1").hover()
    assert pair.locator(".same").count() == 0


def test_a_screen_reader_gets_names_of_tables_and_drawings(page: Page) -> None:
    assert page.get_by_role("table", name="Ablations (Table 2's form)").count() == 2
    assert page.get_by_role("img", name="Context strength κ").count() == 2
    assert page.get_by_role("navigation", name="Contents").count() == 1
    cell = page.locator(".pair tbody tr").nth(1).locator("th")
    assert "click queue:" in cell.inner_text()
    assert "down 1" in cell.inner_text()


def test_print_is_light_and_without_navigation(page: Page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator(".contents").is_hidden()
    assert page.locator(".switcher").is_hidden()
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert sum(map(int, ink[4:-1].split(","))) < 150
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.pdf().startswith(b"%PDF")


def test_the_page_is_whole_without_its_script(browser: Browser, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(f"file://{file}")
    assert plain.locator("main").get_by_text("SORT-Gen as in the paper").first.is_visible()
    assert plain.locator(".table th").first.inner_text() == "method"
    context.close()
