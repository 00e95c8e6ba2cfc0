"""Render contents as one HTML page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from models.reporting.chart_numbers import Numbers, chart_numbers
from models.reporting.charts import draw
from models.reporting.checks import check
from models.reporting.contents import Chart, Contents, Table, Target
from models.reporting.lists import ShownPair, shown_pair
from models.reporting.styles import LineStyle, Styles
from models.reporting.tables import ShownTable, shown_table

_FOLDER: Final = files("models.reporting") / "page"
_GROUPS: Final = {
    "sweep": "Sweeps",
    "front": "Fronts",
    "learning": "Learning curves",
    "calibration": "Calibration",
    "positions": "Cumulative value by place",
}
"""Kinds of charts in the order of the page, with their headings."""

_VERDICTS: Final = {True: "met", False: "missed", None: "not known"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownChart:
    """A chart as the template needs it."""

    title: str
    finding: str
    svg: Markup
    legend: Sequence[LineStyle]
    numbers: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A table, a chart or a pair of lists, and the id of its link."""

    id: str
    title: str
    shown: ShownTable | ShownChart | ShownPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Parts of one `kind` (tables, charts or pairs) under one heading.

    `tables` belong to its charts, and stand below them.
    """

    id: str
    title: str
    kind: str
    parts: Sequence[Part]
    tables: Sequence[Part] = ()

    @property
    def every(self) -> Sequence[Part]:
        """All parts in the order of the page."""
        return [*self.parts, *self.tables]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as the template needs it."""

    id: str
    heading: str
    contents: Contents
    verdicts: Sequence[tuple[str, Target]]
    sections: Sequence[Section]

    @property
    def met(self) -> int:
        """Number of targets that were met."""
        return sum(verdict == _VERDICTS[True] for verdict, _ in self.verdicts)

    @property
    def brief(self) -> str:
        """Targets met and steps failed in a few words, as far as there are any."""
        told = [f"{self.met} of {len(self.verdicts)} targets met"] if self.verdicts else []
        failed = len(self.contents.failures)
        return ", ".join([*told, f"{failed} failed"] if failed else told)


def render(runs: Mapping[str, Contents]) -> str:
    """Return the page of one or several runs, by their folders' names.

    The bytes depend on the runs alone. Raises `ValueError` naming the run whose contents do not fit together.
    """
    ids = _Ids()
    shown = [_run(name, runs[name], heading, ids) for name, heading in _headings(runs).items()]
    title = shown[0].heading if len(shown) == 1 else f"Report of {len(shown)} runs"
    script = _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("report.html")
        .render(title=title, runs=shown, css=Markup(_text("page.css")), script=Markup(script), script_digest=digest)
    )


class _Ids:
    """Make ids for a page from titles, each once."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def make(self, *texts: str) -> str:
        """Return an id that was not returned before."""
        slug = re.sub(r"[^a-z0-9]+", "-", " ".join(texts).lower()).strip("-") or "part"
        self._seen[slug] += 1
        return slug if self._seen[slug] == 1 else self.make(slug, str(self._seen[slug]))


def _headings(runs: Mapping[str, Contents]) -> dict[str, str]:
    """Return the runs' titles by folder; those that are not unique get the folder's name."""
    counts = Counter(contents.title for contents in runs.values())
    return {name: c.title if counts[c.title] == 1 else f"{c.title} ({name})" for name, c in runs.items()}


def _run(name: str, contents: Contents, heading: str, ids: _Ids) -> Run:
    try:
        check(contents)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    run = ids.make("run", heading)
    apart = {chart.name: _tables_of(chart, contents) for chart in contents.charts}
    beside = [table for tables in apart.values() for table in tables]
    tables = [table for table in contents.tables if table not in beside]
    sections = [
        Section(
            id=ids.make(run, title),
            title=title,
            kind="tables",
            parts=[_table(table, run, ids) for table in tables if table.section == title],
        )
        for title in dict.fromkeys(table.section for table in tables)
    ]
    styles = Styles()
    for kind, title in _GROUPS.items():
        charts = [chart for chart in contents.charts if chart.kind == kind]
        sections.append(
            Section(
                id=ids.make(run, kind),
                title=title,
                kind="charts",
                parts=[_chart(chart, ids.make(run, chart.name), styles.of(chart)) for chart in charts],
                tables=[_table(table, run, ids) for chart in charts for table in apart[chart.name]],
            )
        )
    pairs = [Part(id=ids.make(run, p.title), title=p.title, shown=shown_pair(p)) for p in contents.pairs]
    sections.append(Section(id=ids.make(run, "lists"), title="Lists before and after", kind="pairs", parts=pairs))
    return Run(
        id=run,
        heading=heading,
        contents=contents,
        verdicts=[(_VERDICTS[target.met], target) for target in contents.targets],
        sections=[section for section in sections if section.parts],
    )


def _tables_of(chart: Chart, contents: Contents) -> list[Table]:
    """Return the tables that stand with a chart: their names begin with its name."""
    return [table for table in contents.tables if table.name.startswith(f"{chart.name}-")]


def _table(table: Table, run: str, ids: _Ids) -> Part:
    return Part(id=ids.make(run, table.name), title=table.title, shown=shown_table(table))


def _chart(chart: Chart, name: str, styles: Sequence[LineStyle]) -> Part:
    shown = ShownChart(
        title=chart.title,
        finding=chart.finding,
        svg=Markup(draw(chart, styles, f"{name}-")),
        legend=styles,
        numbers=chart_numbers(chart),
    )
    return Part(id=name, title=chart.title, shown=shown)


def _with_code(text: str) -> Markup:
    """Escape a text, and show what stands between backticks in it as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = _with_code
    return environment


def _text(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")
