"""Lay out all methods against the base, and ours against the strongest rival.

The first has the form of SORT-Gen's Table 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.evaluation.truth.figures import papers
from models.evaluation.truth.figures.intervals import mean_of
from models.evaluation.truth.figures.outcomes import Outcomes
from models.evaluation.truth.figures.results import Missing, PointResults
from models.evaluation.truth.figures.rows import (
    BASE,
    GAIN_COLUMNS,
    NONE,
    OURS,
    RIVALS,
    TRUE_BEAM,
    gains,
    of_groups,
    row_of,
    strongest_rival,
    title_of,
    value_share,
)
from models.reporting.contents import Column, Figure, Row, Table

_GROUPS: Final = (BASE, RIVALS, OURS, "ceilings")
PAPER_COLUMNS: Final = tuple(Column(title=f"paper's {column.title}") for column in GAIN_COLUMNS[:3])
INTERVALS: Final = (
    "In brackets: 95% intervals by a bootstrap over seeds and requests together, paired across methods; of few seeds "
    "they say too little about other seeds."
)


def base_table(point: PointResults) -> Table:
    """Lay out all methods against the base, in the form of SORT-Gen's Table 1."""
    return _base_table(point, "base", "Against the base (Table 1's form)")


def small_table(point: PointResults) -> Table:
    """Lay out the methods where requests have so few lists that all can be searched."""
    world = point.point.world
    return _base_table(point, "small", f"Against the base, {world.length} places for {world.candidates} candidates")


def _base_table(point: PointResults, name: str, title: str) -> Table:
    base = point.outcomes(BASE)
    columns = (
        *GAIN_COLUMNS,
        Column(title="diversity", form="number", digits=3),
        Column(title="gap closed", form="share"),
        Column(title="setting", form="text"),
    )

    def row(method: str) -> Row:
        beside = published(papers.TABLE_1, method)
        return row_of(point, method, len(columns), lambda found: _base_row(point, method, found, base), beside)

    caption = (
        f"True outcomes of the planned lists against the base, the greedy sort by the objective formula. {INTERVALS} "
        "Diversity is one less the mean cosine between two items of a list. The gap closed is the gain in list value "
        "as a share of the gain of the beam search with true values. The setting was chosen by the judge, from logs "
        "only; several are those of the seeds. The paper's figures are of its online test. Ceilings know true values. "
        f"{_base_outcomes(base)}"
    )
    rows = [row(method) for method in of_groups(point, *_GROUPS)]
    return Table(name=name, title=title, caption=caption, columns=(*columns, *PAPER_COLUMNS), rows=rows)


def rival_table(point: PointResults) -> Table | None:
    """Compare ours with the strongest rival, by list value; None where no rival has lists."""
    rival = strongest_rival(point)
    if rival is None:
        return None
    theirs = point.outcomes(rival)
    preferences = point.preferences()

    def row(name: str) -> Row:
        return row_of(point, name, len(GAIN_COLUMNS), lambda found: gains(found, theirs, preferences))

    title = title_of(point, rival)
    return Table(
        name="strongest-rival",
        title=f"Against the strongest rival: {title}",
        caption=f"Relative gains over {title}, the rival of the highest list value, on the same requests. {INTERVALS}",
        columns=GAIN_COLUMNS,
        rows=[row(name) for name in of_groups(point, OURS)],
    )


def published(table: Mapping[str, papers.Published], name: str) -> list[Figure]:
    """Look up the paper's figures of a row; dashes where it has none."""
    return [Figure(mean=percent / 100) for percent in table[name]] if name in table else [NONE] * 3


def _base_row(point: PointResults, name: str, found: Outcomes, base: Outcomes | Missing) -> list[Figure]:
    closed = value_share(point, name, TRUE_BEAM) if name != BASE else None
    return [
        *gains(found, base, point.preferences()),
        mean_of(found.spread()),
        closed or NONE,
        Figure(text=point.setting(name) or "–"),
    ]


def _base_outcomes(base: Outcomes | Missing) -> str:
    if isinstance(base, Missing):
        return f"The base: {base.text}."
    clicks, orders, gmv = (base.total(o).values.mean() for o in range(3))
    return f"A list of the base earns {clicks:.3f} clicks, {orders:.4f} orders and {gmv:.2f} of GMV."
