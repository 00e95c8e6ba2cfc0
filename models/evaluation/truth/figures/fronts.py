"""Draw what methods reach under several objective mixes as Pareto fronts, with hypervolumes.

Axis letters: n points, O objectives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from models.contract.arrays import Floats
from models.evaluation.truth.figures.outcomes import Outcomes
from models.evaluation.truth.figures.results import Missing, PointResults
from models.evaluation.truth.figures.rows import BASE, title_of
from models.reporting.contents import Chart, Column, Figure, Line, Row, Table

_AXES: Final = {"GMV": (0, 2), "orders": (0, 1)}
"""Charts by the title of their y axis: the objectives of x and y."""


def reached(point: PointResults) -> dict[str, Floats]:
    """Compute per method with several mixes the gains [n, 3] over the base under the first mix, in percent."""
    base = point.outcomes(BASE)
    if isinstance(base, Missing):
        return {}
    floor = _means(base)
    found = {name: _points(point, name, floor) for name in point.point.methods}
    return {name: points for name, points in found.items() if len(points) > 1}


def front_charts(point: PointResults) -> Iterator[Chart]:
    """Draw clicks against GMV and clicks against orders, the best mixes of each method."""
    points = reached(point)
    for title, (x, y) in _AXES.items() if points else ():
        yield Chart(
            name=f"front-clicks-{title.lower()}",
            title=f"Fronts over α, β, γ: clicks and {title}",
            kind="front",
            x_title="clicks over the base, %",
            y_title=f"{title} over the base, %",
            lines=[_line(title_of(point, name), found[:, (x, y)]) for name, found in points.items()],
            points=True,
        )


def hypervolume_table(point: PointResults) -> Table | None:
    """Lay out the hypervolume of each method's points; None without points."""
    points = reached(point)
    if not points:
        return None
    lowest = np.concatenate(list(points.values())).min(axis=0)
    spaces = {"clicks and GMV": (0, 2), "clicks and orders": (0, 1), "all three": (0, 1, 2)}
    columns = [Column(title="mixes on the front", form="number", digits=0)]
    columns += [Column(title=title, form="number", digits=1) for title in spaces]

    def row(name: str, found: Floats) -> Row:
        on_front = Figure(mean=float(len(front_of(found))))
        volumes = [Figure(mean=hypervolume(found[:, axes], lowest[list(axes)])) for axes in spaces.values()]
        return Row(name=name, title=title_of(point, name), figures=[on_front, *volumes], group=_group(point, name))

    low = ", ".join(f"{value:+.2f}%" for value in lowest)
    caption = (
        f"Hypervolume, in percent to the power of the dimensions, of the gains over the base at α, β, γ = "
        f"{', '.join(f'{w:g}' for w in point.point.mixes[0])}, under {len(point.point.mixes)} mixes. The reference "
        f"point is the lowest gain of any method and mix: {low} (clicks, orders, GMV)."
    )
    rows = [row(name, found) for name, found in points.items()]
    return Table(name="hypervolume", title="Hypervolumes of the fronts", caption=caption, columns=columns, rows=rows)


def front_of(points: Floats) -> Floats:
    """Keep the points [n, O] that no other beats in one objective without losing in another."""
    rows = NonDominatedSorting().do(-points, only_non_dominated_front=True)  # pymoo minimises.
    front: Floats = points[np.sort(rows)]
    return front


def hypervolume(points: Floats, reference: Floats) -> float:
    """Compute the volume that points [n, O] dominate above a reference point [O]."""
    return float(HV(ref_point=-reference)(-points))


def _points(point: PointResults, name: str, floor: Floats) -> Floats:
    found = (point.outcomes(name, mix) for mix in range(len(point.point.mixes)))
    rows = [100 * (_means(outcomes) / floor - 1) for outcomes in found if isinstance(outcomes, Outcomes)]
    return np.array(rows).reshape(-1, 3)


def _means(outcomes: Outcomes) -> Floats:
    means: Floats = outcomes.cumulative[:, :, -1].mean(axis=(0, 1))
    return means


def _line(title: str, points: Floats) -> Line:
    front = front_of(points)
    front = front[np.argsort(front[:, 0], kind="stable")]
    return Line(title=title, x=front[:, 0].tolist(), y=front[:, 1].tolist())


def _group(point: PointResults, name: str) -> str:
    return point.methods[name].group
