"""The page of one or several runs: complete, closed in itself, the same every time, and safe with any text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from models.reporting.contents import Chart, Contents, ListPair, Row, Table
from models.reporting.page import render
from tests.models.reporting.html import Element, read
from tests.models.reporting.sample import sample


@pytest.fixture(scope="module")
def contents() -> Contents:
    return sample()


@pytest.fixture(scope="module")
def page(contents: Contents) -> str:
    return render({"runs/truth": contents})


@pytest.fixture(scope="module")
def document(page: str) -> Element:
    return read(page)


def spread(value: Any, text: str) -> Any:
    """The same contents with `text` in place of every text that is not a choice of a few."""
    if isinstance(value, str):
        return text
    if isinstance(value, list):
        return [spread(inner, text) for inner in value]
    if isinstance(value, dict):
        kept = ("form", "kind", "x")
        return {key: inner if key in kept else spread(inner, text) for key, inner in value.items()}
    return value


def hostile(contents: Contents, text: str) -> Contents:
    return msgspec.convert(spread(msgspec.to_builtins(contents), text), Contents)


def test_every_figure_of_a_table_is_in_its_row(contents: Contents, document: Element) -> None:
    shown = document.all("section", class_="table")
    assert [section.all("h3")[0].text for section in shown] == [table.title for table in contents.tables]
    for section, table in zip(shown, contents.tables, strict=True):
        assert table.caption in section.text
        assert [th.text for th in section.one("thead").all("th")[1:]] == [column.title for column in table.columns]
        heads = [th for th in section.all("th", scope="row") if th.text]
        rows = {th.inside[0]: tr for tr in section.all("tr") for th in tr.all("th", scope="row")}
        assert len(heads) == len(table.rows)
        for row in table.rows:
            cells = rows[row.title].all("td")
            assert len(cells) == len(table.columns)
            assert row.note in rows[row.title].one("th").text
            for cell, figure in zip(cells, row.figures, strict=True):
                assert cell.attributes.get("data-value", "") == ("" if figure.mean is None else str(figure.mean))
                assert bool(cell.all(class_="interval")) == (figure.low is not None)


def test_groups_are_headings_of_their_rows(contents: Contents, document: Element) -> None:
    table = document.all("section", class_="table")[0]
    groups = list(dict.fromkeys(row.group for row in contents.tables[0].rows))
    assert [th.text for th in table.all("th", scope="rowgroup")] == groups
    assert len(table.all("tbody")) == len(groups)


def test_targets_failures_setting_and_summary_are_told(contents: Contents, document: Element) -> None:
    text = document.one("main").text
    for paragraph in contents.summary.split("\n\n"):
        assert paragraph in text
    for target in contents.targets:
        assert target.text in text
        assert target.reached in text
    assert "Targets: 2 of 4 met" in text
    assert [span.text for span in document.all(class_="verdict")] == ["met", "met", "missed", "not known"]
    assert "1 step failed" in text
    for failure in contents.failures:
        assert failure in document.one(class_="failures").text
    setting = document.one("section", class_="setting")
    names, values = ([e.text for e in setting.all(tag)] for tag in ("dt", "dd"))
    assert dict(zip(names, values, strict=True)) == contents.setting


def test_every_chart_has_a_drawing_its_lines_and_its_numbers(contents: Contents, document: Element) -> None:
    figures = {figure.one("h3").text: figure for figure in document.all("figure")}
    assert set(figures) == {chart.title for chart in contents.charts}
    for chart in contents.charts:
        figure = figures[chart.title]
        assert chart.finding in figure.one("figcaption").text
        drawing = figure.one("svg", role="img")
        assert drawing.one("title", id=f"{figure.attributes['id']}--title").text == chart.title
        legend = [li.text for li in figure.one(class_="legend").all("li")]
        assert legend[: len(chart.lines)] == [line.title for line in chart.lines]
        assert (legend[-1] == "ideal") == (chart.kind == "calibration")
        # A calibration's numbers have an x for each line.
        calibrated = sum(len(line.x) for line in chart.lines) if chart.kind == "calibration" else 0
        points = sum(y is not None for line in chart.lines for y in line.y)
        assert len([use for use in drawing.all("use") if use.all("title")]) == points
        cells = [row.all("td")[-1:] if chart.points else row.all("td") for row in figure.one("tbody").all("tr")]
        assert len([td for row in cells for td in row if re.search(r"\d", td.text)]) == points + calibrated


def test_lists_show_items_moves_queues_and_sums(contents: Contents, document: Element) -> None:
    sections = document.all("section", class_="pair")
    for section, pair in zip(sections, contents.pairs, strict=True):
        for table, items in zip(section.all("table"), (pair.before, pair.after), strict=True):
            rows = table.one("tbody").all("tr")
            assert [row.attributes["data-item"] for row in rows] == [item.id for item in items]
            for row, item in zip(rows, items, strict=True):
                assert item.attributes["price"] in row.text
                assert f"category {item.attributes['category']}" in row.text
                assert f"{pair.queues[item.queue]} queue:" in row.text
            boxed = [row.attributes["data-item"] for row in rows if row.has("class", "boxed")]
            assert boxed == [item.id for item in items if item.queue > 0 and items is pair.after]
            assert f"{sum(item.click for item in items):.3f}" in table.one("tfoot").text


def test_the_contents_lead_to_every_part(document: Element) -> None:
    ids = [element.attributes["id"] for element in document.all() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    links = [a.attributes["href"] for a in document.all("a")]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    parts = [s for kind in ("table", "chart", "pair") for s in document.all(class_=kind) if s.tag != "table"]
    assert {f"#{part.attributes['id']}" for part in parts} <= set(links)
    used = {r for e in document.all() for n in ("aria-labelledby", "aria-describedby") if n in e.attributes
            for r in e.attributes[n].split()}  # fmt: skip
    assert used <= set(ids)
    references = {r for e in document.all() for v in e.attributes.values() for r in re.findall(r"^url\(#(.+)\)$", v)}
    assert references <= set(ids)


def test_nothing_is_loaded_from_anywhere(page: str, document: Element) -> None:
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"^ *//.*$|/\*\*.*?\*/", "", page, flags=re.MULTILINE))
    assert not [e for e in document.all() if "src" in e.attributes]
    assert [e.attributes["href"] for e in document.all("link")] == ["data:,"]
    assert "@import" not in page
    assert "url(#" in page
    assert "default-src 'none'" in document.all("meta")[3].attributes["content"]


def test_the_same_contents_give_the_same_bytes(contents: Contents, page: str) -> None:
    assert render({"runs/truth": contents}) == page


HOSTILE = (
    "<script>alert(1)</script>",
    "\" onmouseover='alert(1)' x=\"",
    "</style></title></svg><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }} {% if %} $\\frac{1}{2}$ &amp;",
    "漢字 ⚽ \N{RIGHT-TO-LEFT OVERRIDE} κ",
)


@pytest.mark.long
@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_shown_as_it_is_and_does_nothing(contents: Contents, document: Element, text: str) -> None:
    shown = read(render({text: hostile(contents, text)}))
    assert len(shown.all("script")) == 1
    assert not shown.all("img")
    assert not [name for e in shown.all() for name in e.attributes if name.startswith("on")]
    assert shown.one("h1").text == " ".join(text.split())
    assert {e.tag for e in shown.all()} == {e.tag for e in document.all()}
    assert shown.one("head").one("title").text == " ".join(text.split())


def test_code_in_texts_is_marked_and_escaped(contents: Contents) -> None:
    shown = read(render({"run": replace(contents, summary="Run `make <b>` and `x`.", charts=(), failures=["`a`: no"])}))
    assert [code.text for code in shown.one(class_="summary").all("code")] == ["make <b>", "x"]
    assert shown.one(class_="summary").text == "Run make <b> and x ."
    assert shown.one(class_="failures").one("code").text == "a"


def test_tables_that_are_named_after_a_chart_stand_with_it(contents: Contents) -> None:
    table = replace(contents.tables[1], name="sweep-kappa-clicks", title="Clicks along κ")
    shown = read(render({"run": replace(contents, tables=[*contents.tables, table], charts=contents.charts[1:3])}))
    (section,) = (s for s in shown.all("section", class_="charts") if s.one("h2").text == "Sweeps")
    assert [s.one("h3").text for s in section.all("section", class_="table")] == ["Clicks along κ"]
    assert len(shown.all("section", class_="table")) == 3
    assert f"#{section.one('section', class_='table').attributes['id']}" in [
        a.attributes["href"] for a in shown.all("a")
    ]


def test_a_page_of_several_runs_has_a_section_for_each_and_tells_namesakes_apart(contents: Contents) -> None:
    contents = replace(contents, charts=contents.charts[:1])
    runs = {"runs/a": contents, "runs/b": contents, "runs/c": replace(contents, title="Another", targets=())}
    shown = read(render(runs))
    assert shown.one("h1").text == "Report of 3 runs"
    headings = [f"{contents.title} (runs/a)", f"{contents.title} (runs/b)", "Another"]
    assert [h2.text for h2 in shown.all("h2")] == headings
    switcher = shown.one("nav", class_="switcher").all("a")
    assert [a.text.partition(" · ")[::2] for a in switcher] == [
        (headings[0], "2 of 4 targets met, 1 failed"),
        (headings[1], "2 of 4 targets met, 1 failed"),
        (headings[2], "1 failed"),
    ]
    ids = [element.attributes["id"] for element in shown.all() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    assert len(shown.all("section", class_="table")) == 3 * len(contents.tables)


def test_titles_that_look_alike_have_ids_of_their_own(contents: Contents) -> None:
    tables = [
        Table(name=name, title=name, caption="", columns=(), rows=()) for name in ("a b", "a-b", "a b 2", "a", "–")
    ]
    shown = read(render({"run": replace(contents, title="A", tables=tables)}))
    ids = [element.attributes["id"] for element in shown.all() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)


def test_contents_with_next_to_nothing_are_a_page() -> None:
    chart = Chart(name="c", title="Nothing yet", kind="sweep", x_title="x", y_title="y", lines=())
    pair = ListPair(title="No items", user={}, queues=(), before=(), after=())
    table = Table(name="t", title="No rows", caption="", columns=(), rows=(Row(name="r", title="r", figures=()),))
    least = Contents(title="T", kind="k", summary="", setting={}, charts=(chart,), pairs=(pair,), tables=(table,))
    shown = read(render({"run": least}))
    assert not shown.all(class_="targets")
    assert not shown.all(class_="failures")
    assert "Nothing yet" in shown.text


def test_contents_that_do_not_fit_together_are_refused_with_the_runs_name(contents: Contents) -> None:
    table = replace(contents.tables[0], rows=[replace(contents.tables[0].rows[1], figures=())])
    with pytest.raises(ValueError, match=r"^runs/x: table 'methods', row 'ltr': has 0 figures for 6 columns$"):
        render({"runs/x": replace(contents, tables=[table])})


def test_tables_stand_under_the_headings_of_their_sections(contents: Contents) -> None:
    tables = [replace(contents.tables[0], name=f"t{i}", section=section) for i, section in enumerate("ABA")]
    shown = read(render({"run": replace(contents, tables=tables, charts=(), pairs=())}))
    sections = shown.all("section", class_="tables")
    assert [(s.one("h2").text, len(s.all("section", class_="table"))) for s in sections] == [("A", 2), ("B", 1)]
