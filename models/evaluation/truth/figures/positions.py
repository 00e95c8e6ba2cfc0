"""Draw the cumulative value of lists by place, in the form of SORT-Gen's Figure 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.evaluation.truth.figures.outcomes import Outcomes
from models.evaluation.truth.figures.results import PointResults
from models.evaluation.truth.figures.rows import (
    BASE,
    SORT_GEN,
    SORT_GEN_BEAM,
    TRUE_BEAM,
    strongest_rival,
    title_of,
)
from models.reporting.contents import Chart, Line

_OBJECTIVES: Final = {"clicks": 0, "purchases": 1, "GMV": 2}


def position_charts(point: PointResults) -> Iterator[Chart]:
    """Draw clicks, purchases and GMV of a list's first 1, 2, … items."""
    names = dict.fromkeys((BASE, strongest_rival(point), SORT_GEN, SORT_GEN_BEAM, TRUE_BEAM))
    found = {name: point.outcomes(name) for name in names if name is not None}
    known = {title_of(point, name): outcomes for name, outcomes in found.items() if isinstance(outcomes, Outcomes)}
    for title, objective in _OBJECTIVES.items():
        yield Chart(
            name=f"positions-{title.lower()}",
            title=f"Cumulative {title} by place (Figure 3's form)",
            kind="positions",
            x_title="place",
            y_title=f"expected {title} of the items up to the place",
            lines=[_line(name, outcomes, objective) for name, outcomes in known.items()],
        )


def _line(title: str, outcomes: Outcomes, objective: int) -> Line:
    places = range(outcomes.cumulative.shape[2])
    # No bands: requests differ far more than methods do on the same request, which the tables compare.
    means = [float(outcomes.up_to(place, objective).values.mean()) for place in places]
    return Line(title=title, x=[float(place + 1) for place in places], y=means)
