"""Charts as SVG: what is drawn where, in whose colours, and what a reader without eyes gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import pytest

from models.reporting import charts
from models.reporting.chart_numbers import chart_numbers
from models.reporting.contents import Chart, Line
from models.reporting.styles import Styles
from tests.models.reporting.html import Element, read


def chart(lines: Sequence[Line], **options: Any) -> Chart:
    return Chart(
        **{"name": "c", "title": "T", "kind": "sweep", "x_title": "x", "y_title": "y", "lines": lines, **options}
    )


def draw(shown: Chart, prefix: str = "c-") -> str:
    return charts.draw(shown, Styles().of(shown), prefix)


def drawn(lines: Sequence[Line], **options: Any) -> Element:
    return read(draw(chart(lines, **options)))


def line(x: Sequence[float | str], y: Sequence[float | None], **bands: Sequence[float | None]) -> Line:
    return Line(title="A", x=x, y=y, **bands)


def texts(svg: Element) -> list[str]:
    return [e.text for e in svg.all("text")]


def test_colours_are_the_pages_own() -> None:
    text = draw(chart([line([1, 2], [1, 2], low=[0, 1], high=[2, 3])], kind="calibration"))
    assert "var(--series-0)" in text
    assert "var(--ink)" not in text
    assert "#1000" not in text
    assert "font-family" not in text


def test_points_are_drawn_at_their_values_and_say_them() -> None:
    svg = drawn([line([0.0, 1.0, 3.0], [5.0, None, 2.0], low=[4.0, None, 1.0], high=[6.0, None, 3.0])])
    first, last = svg.all("use")
    assert [use.text for use in (first, last)] == ["A x: 0 y: 5 (4 to 6)", "A x: 3 y: 2 (1 to 3)"]
    assert float(first.attributes["x"]) < float(last.attributes["x"])
    assert float(first.attributes["y"]) < float(last.attributes["y"])
    assert [text for text in texts(svg) if text in ("0", "1", "3")][:3] == ["0", "1", "3"]


def test_a_logarithmic_axis_has_its_labels_at_the_points() -> None:
    svg = drawn([line([1e3, 1e4, 1e5], [1, 2, 3])], log_x=True, kind="learning")
    assert texts(svg)[:3] == ["1,000", "10,000", "100,000"]
    a, b, c = (float(use.attributes["x"]) for use in svg.all("use"))
    assert b - a == pytest.approx(c - b, rel=1e-3)


def test_categories_are_evenly_spaced_and_keep_their_texts() -> None:
    svg = drawn([line(["none", "漢字 <b>", "$x^2$"], [1, 2, 3])], x_title="κ, $strength$")
    assert texts(svg)[:3] == ["none", "漢字 <b>", "$x^2$"]
    assert "κ, $strength$" in texts(svg)
    a, b, c = (float(use.attributes["x"]) for use in svg.all("use"))
    assert b - a == pytest.approx(c - b, rel=1e-3)


def test_a_long_title_of_an_axis_is_broken_into_lines() -> None:
    title = "expected number of clicks of the whole list, relative to the base"
    shown = [text for text in texts(drawn([line([1, 2], [1, 2])], y_title=title)) if "list" in text or "clicks" in text]
    assert len(shown) == 2
    assert " ".join(shown) == title


def test_a_calibration_has_the_ideal_line_over_the_same_range_of_both_axes() -> None:
    lines = [line([0.1, 0.4], [0.2, 0.3])]
    assert Styles().of(chart(lines, kind="calibration"))[-1].title == "ideal"
    svg = drawn(lines, kind="calibration")
    (ideal,) = [e for e in svg.all("path") if "stroke-dasharray" in e.attributes["style"]]
    box = svg.one("clippath").one("rect").attributes
    left, top, width, height = (float(box[name]) for name in ("x", "y", "width", "height"))
    ends = [float(part) for part in ideal.attributes["d"].split() if part not in "ML"]
    assert ends == pytest.approx([left, top + height, left + width, top], abs=0.02)


def test_a_front_has_its_intervals_as_bars_and_a_line_as_a_band() -> None:
    lines = [line([1, 2], [1, 2], low=[0.0, 1.0], high=[2.0, 3.0])]
    front, sweep = (draw(chart(lines, points=points)) for points in (True, False))
    assert ("fill-opacity" in front, "stroke-opacity" in front) == (False, True)
    assert ("fill-opacity" in sweep, "stroke-opacity" in sweep) == (True, False)


@pytest.mark.parametrize("points", [True, False])
def test_a_point_may_lack_its_interval(points: bool) -> None:
    svg = drawn([line([1, 2, 3], [1, 2, 3], low=[0.0, None, 2.0], high=[2.0, None, 4.0])], points=points)
    told = [use.text for use in svg.all("use") if use.all("title")]
    assert told == ["A x: 1 y: 1 (0 to 2)", "A x: 2 y: 2", "A x: 3 y: 3 (2 to 4)"]


def test_a_method_looks_alike_in_all_charts() -> None:
    named = {name: Line(title=name, x=[1], y=[1]) for name in "abcdefghij"}
    styles = Styles()
    first = {style.title: style for style in styles.of(chart([named[name] for name in "ab"]))}
    second = {style.title: style for style in styles.of(chart([named[name] for name in "cba"]))}
    assert first["a"] == second["a"] != second["c"]
    assert first["b"] == second["b"]
    # The ninth has the colour of the first, unless both are in one chart.
    styles.of(chart(list(named.values())))
    assert styles.of(chart([named["i"]]))[0].color == first["a"].color
    assert len({style.color for style in styles.of(chart([named["a"], named["i"], named["b"]]))}) == 3


def test_lines_beyond_the_colours_have_another_dash() -> None:
    styles = Styles().of(chart([line([1], [1])] * 17))
    assert len({(style.color, style.dash) for style in styles}) == 17


def test_ids_are_of_the_charts_prefix_and_drawings_do_not_share_any() -> None:
    one, other = (read(draw(chart([line([1, 2], [1, 2])]), prefix)) for prefix in ("a-", "b-"))
    ids = [{e.attributes["id"] for e in svg.all() if "id" in e.attributes} for svg in (one, other)]
    assert not ids[0] & ids[1]
    assert {"a--title", "a--desc"} < ids[0]
    assert one.all("use")[0].attributes["href"].removeprefix("#") in ids[0]


def test_settings_of_a_users_matplotlib_change_nothing() -> None:
    before = draw(chart([line([1, 2], [1, 2])]))
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        assert draw(chart([line([1, 2], [1, 2])])) == before
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize("lines", [[], [line([], [])], [line([1, 2], [None, None])]])
def test_a_chart_without_points_is_drawn(lines: list[Line]) -> None:
    assert not drawn(lines).all("use")


def test_numbers_have_a_column_for_each_line_and_a_row_for_each_x() -> None:
    lines = [line([2.0, 1.0], [20.0, 10.0]), line([1.0, 3.0], [None, 30.0], low=[None, 29.0], high=[None, 31.0])]
    found = chart_numbers(chart(lines))
    assert found.heads == ["x", "A", "A"]
    assert found.rows == [("1", "10", ""), ("2", "20", ""), ("3", "", "30 (29 to 31)")]


def test_numbers_of_a_front_have_a_row_for_each_point() -> None:
    found = chart_numbers(chart([line([2.0, 1.0], [20.0, 10.0])], points=True))
    assert found.heads == ["line", "x", "y"]
    assert found.rows == [("A", "2", "20"), ("A", "1", "10")]
