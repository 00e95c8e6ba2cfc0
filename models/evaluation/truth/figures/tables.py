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
    NONE,
    OURS,
    RIVALS,
    SORT_GEN,
    SORT_GEN_BEAM,
    SORT_GEN_PAPER,
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
_PAPER_COLUMNS: Final = tuple(Column(title=f"paper's {column.title}") for column in GAIN_COLUMNS[:3])
_INTERVALS: Final = "In brackets: 95% intervals by a bootstrap over seeds and requests together, paired across methods."


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
        published = _published(papers.TABLE_1, method)
        return row_of(point, method, len(columns), lambda found: _base_row(point, method, found, base), published)

    caption = (
        f"True outcomes of the planned lists against the base, the greedy sort by the objective formula. {_INTERVALS} "
        "Diversity is one less the mean cosine between two items of a list. The gap closed is the gain in list value "
        "as a share of the gain of the beam search with true values. The setting was chosen by the judge, from logs "
        "only; several are those of the seeds. The paper's figures are of its online test. Ceilings know true values. "
        f"{_base_outcomes(base)}"
    )
    rows = [row(method) for method in of_groups(point, *_GROUPS)]
    return Table(name=name, title=title, caption=caption, columns=(*columns, *_PAPER_COLUMNS), rows=rows)


def part_tables(point: PointResults) -> list[Table]:
    """Lay out the tables of ablations: the paper's rows, and our own."""
    names = of_groups(point, "ablations")
    published = [name for name in names if name in papers.TABLE_2]
    own = [name for name in names if name not in papers.TABLE_2]
    tables = [
        _part_table(point, "parts", "Parts of SORT-Gen as in the paper (Table 2's form)", published, papers.TABLE_2),
        _part_table(point, "own-parts", "Parts and sizes of our SORT-Gen", own, {}),
    ]
    return [table for table in tables if table.rows]


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
        caption=f"Relative gains over {title}, the rival of the highest list value, on the same requests. {_INTERVALS}",
        columns=GAIN_COLUMNS,
        rows=[row(name) for name in of_groups(point, OURS)],
    )


def _base_row(point: PointResults, name: str, found: Outcomes, base: Outcomes | Missing) -> list[Figure]:
    closed = value_share(point, name, TRUE_BEAM) if name != BASE else None
    return [
        *gains(found, base, point.preferences()),
        mean_of(found.spread()),
        closed or NONE,
        Figure(text=point.setting(name) or "–"),
    ]


def _part_table(
    point: PointResults, name: str, title: str, methods: Sequence[str], published: Mapping[str, papers.Published]
) -> Table:
    def row(method: str) -> Row:
        complete = point.outcomes(_complete(method))
        beside = _published(published, method) if published else []
        return row_of(
            point, method, len(GAIN_COLUMNS), lambda found: gains(complete, found, point.preferences()), beside
        )

    columns = (*GAIN_COLUMNS, *(_PAPER_COLUMNS if published else ()))
    complete = ", ".join(dict.fromkeys(title_of(point, _complete(method)) for method in methods))
    beam = f" (rows with the beam: {title_of(point, SORT_GEN_BEAM)})" if len(complete.split(", ")) > 1 else ""
    caption = (
        f"Relative improvement of {complete}{beam} over each row, which lacks or changes one part: above 0, the part "
        f"as it is pays. {_INTERVALS}"
    )
    return Table(name=name, title=title, caption=caption, columns=columns, rows=[row(method) for method in methods])


def _complete(ablation: str) -> str:
    """Name the complete method that an ablation is compared with; the paper's rows with the paper's."""
    if ablation in papers.TABLE_2:
        return SORT_GEN_PAPER
    return SORT_GEN_BEAM if ablation.endswith("-beam") else SORT_GEN


def _published(table: Mapping[str, papers.Published], name: str) -> list[Figure]:
    return [Figure(mean=percent / 100) for percent in table[name]] if name in table else [NONE] * 3


def _base_outcomes(base: Outcomes | Missing) -> str:
    if isinstance(base, Missing):
        return f"The base: {base.text}."
    clicks, orders, gmv = (base.total(o).values.mean() for o in range(3))
    return f"A list of the base earns {clicks:.3f} clicks, {orders:.4f} orders and {gmv:.2f} of GMV."
