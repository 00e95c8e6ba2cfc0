"""Lay out the tables of the world of the tables: Tables 1 and 2 of SORT-Gen by form, and our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from models.evaluation.truth.figures import papers
from models.evaluation.truth.figures.intervals import mean_of
from models.evaluation.truth.figures.outcomes import Outcomes
from models.evaluation.truth.figures.results import Missing, PointResults
from models.evaluation.truth.figures.rows import (
    BASE,
    GAIN_COLUMNS,
    MEASURES,
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
_PAPER_COLUMNS: Final = tuple(Column(title=f"paper's {title}") for title in MEASURES[:3])
_INTERVALS: Final = (
    "In brackets: 95% intervals by a bootstrap over seeds and requests together, paired across methods."
)


def base_table(point: PointResults) -> Table:
    """Lay out all methods against the base, in the form of SORT-Gen's Table 1."""
    base = point.outcomes(BASE)
    columns = (
        *GAIN_COLUMNS,
        Column(title="diversity", form="number", digits=3),
        Column(title="gap closed", form="share"),
        Column(title="setting", form="text"),
        *_PAPER_COLUMNS,
    )

    def row(name: str) -> Row:
        return row_of(point, name, len(columns), lambda found: _base_row(point, name, found, base))

    caption = (
        f"True outcomes of the planned lists against the base, the greedy sort by the objective formula. {_INTERVALS} "
        "Diversity is one less the mean cosine between two items of a list. The gap closed is the gain in list value "
        "as a share of the gain of the beam search with true values. The setting was chosen by the judge, from logs "
        "only; several are those of the seeds. The paper's figures are of its online test. Ceilings know true values. "
        f"{_base_outcomes(base)}"
    )
    rows = [row(name) for name in of_groups(point, *_GROUPS)]
    return Table(name="base", title="Against the base (Table 1's form)", caption=caption, columns=columns, rows=rows)


def part_tables(point: PointResults, groups: Mapping[str, Sequence[str]]) -> list[Table]:
    """Lay out the tables of ablations: the first method of each is complete, and compared with the others."""
    published = groups.get("table-2", ())
    tables = [_part_table(point, "parts", "Parts of SORT-Gen (Table 2's form)", published, papers.TABLE_2)]
    tables.append(_part_table(point, "own-parts", "Our own parts and sizes", groups.get("ablations", ()), {}))
    return [table for table in tables if table.rows]


def rival_table(point: PointResults) -> Table | None:
    """Compare ours with the strongest rival, by list value; None where no rival has lists."""
    rival = strongest_rival(point)
    if rival is None:
        return None
    theirs = point.outcomes(rival)
    assert isinstance(theirs, Outcomes)
    preferences = point.preferences()

    def row(name: str) -> Row:
        return row_of(point, name, len(GAIN_COLUMNS), lambda found: gains(found, theirs, preferences))

    title = title_of(point, rival)
    return Table(
        name="strongest-rival",
        title=f"Against the strongest rival: {title}",
        caption=f"Relative gains over {title}, the rival of the highest list value, on the same requests. {_INTERVALS}",
        columns=GAIN_COLUMNS,
        rows=[row(name) for name in of_groups(point, OURS)],
    )


def _base_row(point: PointResults, name: str, found: Outcomes, base: Outcomes | Missing) -> list[Figure]:
    known = not isinstance(base, Missing)
    closed = value_share(point, name, TRUE_BEAM) if name != BASE else None
    return [
        *(gains(found, base, point.preferences()) if known else [NONE] * len(MEASURES)),
        mean_of(found.spread()),
        closed or NONE,
        Figure(text=point.setting(name) or "–"),
        *_published(papers.TABLE_1, name),
    ]


def _part_table(
    point: PointResults, name: str, title: str, methods: Sequence[str], published: Mapping[str, papers.Published]
) -> Table:
    columns = (*GAIN_COLUMNS, *(_PAPER_COLUMNS if published else ()))
    complete = methods[0] if methods else ""
    theirs = point.outcomes(complete) if methods else Missing("")

    def figures(other: str, found: Outcomes) -> list[Figure]:
        known = not isinstance(theirs, Missing)
        own = gains(theirs, found, point.preferences()) if known else [NONE] * len(MEASURES)
        return [*own, *(_published(published, other) if published else ())]

    caption = (
        f"Relative improvement of {title_of(point, complete)} over each row, which lacks or changes one part: above 0, "
        f"the part as it is pays. {_INTERVALS}"
    )
    rows = [row_of(point, other, len(columns), lambda found, other=other: figures(other, found)) for other in methods[1:]]  # type: ignore[misc]
    return Table(name=name, title=title, caption=caption, columns=columns, rows=rows)


def _published(table: Mapping[str, papers.Published], name: str) -> list[Figure]:
    return [Figure(mean=percent / 100) for percent in table[name]] if name in table else [NONE] * 3


def _base_outcomes(base: Outcomes | Missing) -> str:
    if isinstance(base, Missing):
        return f"The base: {base.text}."
    clicks, orders, gmv = (base.total(o).values.mean() for o in range(3))
    return f"A list of the base earns {clicks:.3f} clicks, {orders:.4f} orders and {gmv:.2f} of GMV."
