"""Lay out all methods against the base, and ours against the strongest rival.

The first has the form of SORT-Gen's Table 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.evaluation.truth.figures import papers
from models.evaluation.truth.figures.intervals import intervals_note, mean_of
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
    rivals_run,
    row_of,
    strongest_rival,
    title_of,
    value_share,
)
from models.reporting.contents import Column, Figure, Row, Table
from models.reporting.numbers import fixed, outcome

_GROUPS: Final = (BASE, RIVALS, OURS, "ceilings")
PAPER_COLUMN: Final = Column(title="in the paper", form="text")
IN_THE_PAPER: Final = "In the paper: CLICK, ORDER, GMV of its online test."
_SECTION: Final = "Methods"


def base_table(point: PointResults) -> Table:
    """Lay out all methods against the base, in the form of SORT-Gen's Table 1."""
    return _base_table(point, "base", "Against the base (Table 1's form)", with_paper=True)


def small_table(point: PointResults) -> Table:
    """Lay out the methods where requests have so few lists that all can be searched."""
    world = point.point.world
    title = f"Against the base, {world.length} places for {world.candidates} candidates"
    return _base_table(point, "small", title, with_paper=False)


def _base_table(point: PointResults, name: str, title: str, *, with_paper: bool) -> Table:
    base = point.outcomes(BASE)
    columns = (
        *GAIN_COLUMNS,
        Column(title="diversity", form="number", digits=3),
        Column(title="gap closed", form="share", digits=0),
        Column(title="setting", form="text"),
    )

    def row(method: str) -> Row:
        beside = [published(papers.TABLE_1, method)] if with_paper else []
        return row_of(point, method, len(columns), lambda found: _base_row(point, method, found, base), beside)

    caption = (
        f"Gains in true clicks, purchases, GMV and list value over the base, the greedy sort by the objective formula. "
        f"{_base_outcomes(base)} {intervals_note(point.point.seeds)} Gap closed: the gain in list value as a share of "
        "that of the beam search with true values. Diversity: one less the mean cosine between two items of a list. "
        "Setting: λ or θ, or the number of a formula, that a value model of another seed chose from logs, by seed."
        f"{f' {IN_THE_PAPER}' if with_paper else ''}"
    )
    rows = [row(method) for method in of_groups(point, *_GROUPS)]
    heads = (*columns, PAPER_COLUMN) if with_paper else columns
    return Table(name=name, title=title, caption=caption, columns=heads, rows=rows, section=_SECTION)


def rival_table(point: PointResults) -> Table | None:
    """Compare ours with the strongest rival, by list value; None where no rival has lists."""
    rival = strongest_rival(point)
    if rival is None:
        return None
    theirs = point.outcomes(rival)
    preferences = point.preferences()

    def row(name: str) -> Row:
        return row_of(point, name, len(GAIN_COLUMNS), lambda found: gains(found, theirs, preferences))

    title, among = title_of(point, rival), f" {told}" if (told := rivals_run(point)) else ""
    return Table(
        name="strongest-rival",
        title=f"Against the strongest rival: {title}",
        caption=f"Gains over {title}, the rival of the highest list value{among}. {intervals_note(point.point.seeds)}",
        columns=GAIN_COLUMNS,
        rows=[row(name) for name in of_groups(point, OURS)],
        section=_SECTION,
    )


def published(table: Mapping[str, papers.Published], name: str) -> Figure:
    """Look up the paper's figures of a row; a dash where it has none."""
    if name not in table:
        return NONE
    return Figure(text=", ".join(f"{fixed(percent, 2, sign=True)}%" for percent in table[name]))


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
    clicks, purchases, gmv = (float(base.total(o).values.mean()) for o in range(3))
    return f"A list of the base earns {outcome(clicks)} clicks, {outcome(purchases)} purchases and GMV {outcome(gmv)}."
