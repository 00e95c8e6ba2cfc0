"""Lay out the tables of ablations.

The complete method is compared with rows that lack or change one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from models.evaluation.truth.figures import papers
from models.evaluation.truth.figures.intervals import intervals_note
from models.evaluation.truth.figures.results import PointResults
from models.evaluation.truth.figures.rows import (
    GAIN_COLUMNS,
    SORT_GEN,
    SORT_GEN_BEAM,
    SORT_GEN_PAPER,
    gains,
    of_groups,
    row_of,
    title_of,
)
from models.evaluation.truth.figures.tables import IN_THE_PAPER, PAPER_COLUMN, published
from models.reporting.contents import Figure, Row, Table

GROUP: Final = "ablations"
_SIZES: Final = {
    "states": "number of states K",
    "dfs": "order of the queues",
    "queues": "number of queues",
    "heads": "head width h",
    "beam": "beam width W",
    "with-mmr": "MMR",
    "lambda": "MMR",
    "window": "window of MMR",
}
"""What an ablation of ours changes, by its name without the value."""

_MODEL: Final = "parts of the value model"
_SECTION: Final = "Parts of SORT-Gen"


def paper_parts(point: PointResults) -> Table | None:
    """Lay out the paper's ablations, in the form of its Table 2; None without any."""
    names = [name for name in of_groups(point, GROUP) if name in papers.TABLE_2]
    rows = [_row(point, name, SORT_GEN_PAPER, [published(papers.TABLE_2, name)]) for name in names]
    if not rows:
        return None
    return Table(
        name="parts",
        title="Parts of SORT-Gen as in the paper (Table 2's form)",
        caption=f"Gains of {title_of(point, SORT_GEN_PAPER)} over each row. {_meaning(point)} {IN_THE_PAPER}",
        columns=(*GAIN_COLUMNS, PAPER_COLUMN),
        rows=rows,
        section=_SECTION,
    )


def own_parts(point: PointResults) -> Table | None:
    """Lay out the ablations of ours, by part; None without any."""
    names = [name for name in of_groups(point, GROUP) if name not in papers.TABLE_2]
    rows = [replace(_row(point, name, _complete(name)), group=_part(name)) for name in names]
    if not rows:
        return None
    greedy, beam = title_of(point, SORT_GEN), title_of(point, SORT_GEN_BEAM)
    return Table(
        name="own-parts",
        title="Parts and sizes of our SORT-Gen",
        caption=f"Gains of {greedy} over each row, or of {beam} over rows with the beam. {_meaning(point)}",
        columns=GAIN_COLUMNS,
        rows=rows,
        section=_SECTION,
    )


def _row(point: PointResults, name: str, complete: str, beside: Sequence[Figure] = ()) -> Row:
    whole, preferences = point.outcomes(complete), point.preferences
    return row_of(point, name, len(GAIN_COLUMNS), lambda found: gains(whole, found, preferences()), beside)


def _meaning(point: PointResults) -> str:
    return f"A row lacks or changes one part: above 0, the part as it is pays. {intervals_note(point.point.seeds)}"


def _complete(ablation: str) -> str:
    """Name the method that an ablation of ours changes."""
    return SORT_GEN_BEAM if ablation.endswith("-beam") else SORT_GEN


def _part(ablation: str) -> str:
    """Name the part or size that an ablation of ours changes."""
    name = ablation.removesuffix("-beam")
    return _SIZES.get(name, _SIZES.get(name.rpartition("-")[0], _MODEL))
