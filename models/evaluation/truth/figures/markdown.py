"""Write the contents of a report as Markdown, with the charts as pictures beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.evaluation.tables import markdown_table
from models.reporting.contents import Column, Contents, ListPair, Row, ShownItem, Table, Target
from models.reporting.numbers import figure_text, outcome


def markdown(contents: Contents, pictures: Sequence[str]) -> str:
    """Lay out contents; `pictures` names the charts of which an SVG lies in ``charts/``."""
    parts = [f"# {contents.title}", contents.summary, *_setting(contents), *_targets(contents.targets)]
    parts += [part for table in contents.tables for part in _table(table)]
    for chart in contents.charts:
        picture = f"![{chart.title}](charts/{chart.name}.svg)" if chart.name in pictures else ""
        parts += [part for part in (f"## {chart.title}", picture, chart.finding) if part]
    parts += [part for pair in contents.pairs for part in _pair(pair)]
    parts += ["## Failures", _bullets(contents.failures)] if contents.failures else []
    return "\n\n".join(parts) + "\n"


def _setting(contents: Contents) -> list[str]:
    rows = [[name, value.replace("|", "\\|")] for name, value in contents.setting.items()]
    return ["## Setting", markdown_table(["", ""], rows, texts=2)]


def _targets(found: Sequence[Target]) -> list[str]:
    if not found:
        return []
    words = {True: "yes", False: "no", None: "–"}
    rows = [[target.text, target.reached, words[target.met]] for target in found]
    return ["## Targets", markdown_table(["target", "reached", "met"], rows, texts=3)]


def _table(table: Table) -> list[str]:
    grouped = len({row.group for row in table.rows}) > 1
    heads = [*(["group"] if grouped else []), "method", *(column.title for column in table.columns)]
    cells = [[*([row.group] if grouped else []), row.title, *_cells(row, table.columns)] for row in table.rows]
    laid_out = markdown_table(heads, cells, texts=2 if grouped else 1)
    notes = list(dict.fromkeys(_notes(table.rows)))  # A method may have a row for each measure.
    return [f"## {table.title}", table.caption, laid_out, *([_bullets(notes)] if notes else [])]


def _cells(row: Row, columns: Sequence[Column]) -> list[str]:
    return [figure_text(figure, column) for figure, column in zip(row.figures, columns, strict=True)]


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    yield from (f"{row.title}: {row.note}" for row in rows if row.note)


def _pair(pair: ListPair) -> list[str]:
    user = ", ".join(f"{name} {value}" for name, value in pair.user.items())
    before, after = pair.sides
    heads = ["place", *(head for side in (before, after) for head in (side, "its queue", "clicks, purchases, GMV"))]
    rows = [
        [str(place), *_item(item, pair.queues), *_item(other, pair.queues)]
        for place, (item, other) in enumerate(zip(pair.before, pair.after, strict=True), 1)
    ]
    return [f"## {pair.title}", f"User: {user}.", markdown_table(heads, rows, texts=7)]


def _item(item: ShownItem, queues: Sequence[str]) -> list[str]:
    attributes = ", ".join(item.attributes.values())
    queue = queues[item.queue] if item.queue >= 0 else "none"
    outcomes = ", ".join(outcome(value) for value in (item.click, item.conversion, item.gmv))
    return [f"{item.id} ({attributes})", queue, outcomes]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
