"""Lay out every value model under every planner: the grid."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.figures.intervals import intervals_note
from models.evaluation.truth.figures.results import NOT_RUN, Missing, PointResults
from models.evaluation.truth.figures.rows import BASE, NONE, of_groups, value_gain
from models.reporting.contents import Column, Figure, Row, Table

GROUP: Final = "grid"
TIMES: Final = " × "
"""Between the value model and the planner in the title of a cell."""


def grid_table(point: PointResults) -> Table | None:
    """Lay out gains in list value, a row per value model; None without cells."""
    cells = {_places(point, name): name for name in of_groups(point, GROUP)}
    if not cells:
        return None
    models, planners = (list(dict.fromkeys(places)) for places in zip(*cells, strict=True))
    rows = [
        Row(
            name=model,
            title=model,
            figures=[_cell(point, cells.get((model, planner))) for planner in planners],
            note="; ".join(_reasons(point, [cells[model, p] for p in planners if (model, p) in cells])),
        )
        for model in models
    ]
    return Table(
        name="grid",
        title="Each value model under each planner",
        caption=f"Gain in true list value over the base. {intervals_note(point.point.seeds)}",
        columns=[Column(title=planner) for planner in planners],
        rows=rows,
        section="Value models and planners",
    )


def _places(point: PointResults, name: str) -> tuple[str, str]:
    """Return the titles of a cell's row and column."""
    model, _, planner = point.methods[name].title.partition(TIMES)
    return model, planner


def _cell(point: PointResults, name: str | None) -> Figure:
    if name is None:
        return NONE
    found = point.outcomes(name)
    if isinstance(found, Missing):
        return Figure(text=found.text)
    return value_gain(point, name, BASE) or Figure(text=f"base {NOT_RUN}")


def _reasons(point: PointResults, names: list[str]) -> list[str]:
    found = (point.outcomes(name) for name in names)
    return list(dict.fromkeys(f.reason for f in found if isinstance(f, Missing) and f.reason))
