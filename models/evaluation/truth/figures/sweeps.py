"""Follow methods along each knob of the world.

A sentence says where list-level generation does not pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from models.evaluation.truth.figures.findings import Contest, finding
from models.evaluation.truth.figures.intervals import intervals_note
from models.evaluation.truth.figures.outcomes import Outcomes
from models.evaluation.truth.figures.results import PointResults, Results
from models.evaluation.truth.figures.rows import (
    BASE,
    MEASURES,
    SORT_GEN_BEAM,
    gains,
    row_of,
    strongest,
    title_of,
    value_gain,
)
from models.evaluation.truth.points import LISTS
from models.reporting.contents import Chart, Column, Figure, Line, Row, Table

KNOBS: Final = {
    "kappa": "context strength κ",
    "prior_noise": "noise of the prior scores",
    "price_spread": "spread of prices",
    "exploration": "exploration share of the logs",
    "candidates": "number of candidates",
    "length": "number of places",
    LISTS: "number of training lists",
}
"""What each knob is called in charts."""

CHEAP_SORTS: Final = (BASE, "mmr", "fast-dpp", "pointwise", "pointwise-mmr", "pointwise-dpp", "pareto", "ltr")
"""Sorts that no list model has a part in: what list-level generation must beat to pay."""


def sweep_charts(results: Results) -> Iterator[Chart]:
    """Draw the gain in list value over the base along each knob."""
    for knob in results.knobs:
        points = results.sweep(knob)
        title, learning = KNOBS.get(knob, knob), knob == LISTS
        yield Chart(
            name=f"sweep-{knob}",
            title=f"{'Learning curve: l' if learning else 'L'}ist value by {title}",
            kind="learning" if learning else "sweep",
            x_title=title,
            y_title="list value over the base, %",
            lines=[_line(points, name) for name in _methods(results, points) if name != BASE],
            log_x=learning,
            finding=f"{found}{_few_seeds(results)}" if (found := sweep_finding(points, title)) else "",
        )


def sweep_tables(results: Results) -> Iterator[Table]:
    """Lay out the gains over the base along each knob, measure by measure."""
    for knob in results.knobs:
        points = results.sweep(knob)
        title = KNOBS.get(knob, knob)
        found = {name: _rows(points, name) for name in _methods(results, points) if name != BASE}
        yield Table(
            name=f"sweep-{knob}-gains",
            title=f"Gains by {title}",
            caption=_caption(results, title),
            columns=[Column(title=f"{value:,g}") for value in points],
            rows=[_of_measure(rows, i) for i in range(len(MEASURES)) for rows in found.values()],
        )


def sweep_finding(points: Mapping[float, PointResults], title: str) -> str:
    """Say in one sentence where SORT-Gen's beam does not surely beat the strongest cheap sort.

    The same sorts are compared at every value: those that have lists wherever the beam has.
    """
    known = {value: point for value, point in points.items() if _has_lists(point, SORT_GEN_BEAM)}
    sorts = [name for name in CHEAP_SORTS if all(_has_lists(point, name) for point in known.values())]
    contests = []
    for value, point in known.items():
        rival = strongest(point, sorts)
        found = value_gain(point, SORT_GEN_BEAM, rival) if rival else None
        if rival is not None and found is not None:
            contests.append(Contest(value, title_of(point, rival), found))
    told = {contest.value for contest in contests}
    return finding(title, contests, [value for value in points if value not in told])


def _has_lists(point: PointResults, name: str) -> bool:
    return isinstance(point.outcomes(name), Outcomes)


def _few_seeds(results: Results) -> str:
    return " One seed: other seeds may differ." if results.profile.sweep_seeds == 1 else ""


def _caption(results: Results, title: str) -> str:
    main, others = results.main.point, intervals_note(results.profile.sweep_seeds)
    own = f" The world of the tables was run with {main.seeds} seeds." if main.seeds > 1 else ""
    return f"Gains over the base of the same world, by {title}. {others}{own}"


def _methods(results: Results, points: Mapping[float, PointResults]) -> Sequence[str]:
    """List the methods that some point of a sweep beside the main one plans with."""
    swept = (name for point in points.values() if point is not results.main for name in point.point.methods)
    return list(dict.fromkeys(swept))


def _line(points: Mapping[float, PointResults], name: str) -> Line:
    found = [value_gain(point, name, BASE) for point in points.values()]
    return Line(
        title=title_of(next(iter(points.values())), name),
        x=list(points),
        y=[_percent(f, "mean") for f in found],
        low=[_percent(f, "low") for f in found],
        high=[_percent(f, "high") for f in found],
    )


def _percent(figure: Figure | None, bound: str) -> float | None:
    share = None if figure is None else getattr(figure, bound)
    return None if share is None else 100 * float(share)


def _rows(points: Mapping[float, PointResults], name: str) -> list[Row]:
    """Make a method's row of all measures at each value of a knob."""
    return [_base_row(point, name) for point in points.values()]


def _base_row(point: PointResults, name: str) -> Row:
    base = point.outcomes(BASE)
    return row_of(point, name, len(MEASURES), lambda found: gains(found, base, point.preferences()))


def _of_measure(rows: Sequence[Row], measure: int) -> Row:
    """Put one measure of a method's rows side by side, with its group."""
    figures = [row.figures[measure] for row in rows]
    return replace(rows[0], figures=figures, group=MEASURES[measure], note=_notes(rows))


def _notes(rows: Sequence[Row]) -> str:
    return "; ".join(dict.fromkeys(row.note for row in rows if row.note))
