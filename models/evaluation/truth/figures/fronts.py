"""Draw what methods reach under several objective mixes as Pareto fronts, with hypervolumes.

Axis letters: k mixes, n points, O objectives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from models.contract.arrays import Floats
from models.evaluation.truth.figures.intervals import Sample, common_means, interval, intervals_note
from models.evaluation.truth.figures.outcomes import Outcomes
from models.evaluation.truth.figures.results import Missing, PointResults
from models.evaluation.truth.figures.rows import BASE, NONE, title_of
from models.reporting.contents import Chart, Column, Figure, Line, Row, Table
from models.reporting.numbers import fixed

_AXES: Final = {"GMV": (0, 2), "purchases": (0, 1)}
"""Charts by the title of their y axis: the objectives of x and y."""


@dataclass(frozen=True, eq=False)
class MixResults:
    """Outcomes of a method under k mixes, and of the base under the first."""

    base: Outcomes
    mixes: Sequence[Outcomes]

    @property
    def gains(self) -> Floats:
        """Return the gains [k, 3] over the base in percent, on the seeds that all mixes have."""
        return self._gains(common_means(self._samples(range(3))), 3)

    def volume(self, axes: Sequence[int], reference: Floats) -> Figure:
        """Compute the hypervolume of the gains in some objectives above a reference point [3]."""
        corner = reference[list(axes)]

        def statistic(*means: Floats) -> Floats:
            gains = self._gains(np.stack(means, axis=-1), len(axes))
            flat = gains.reshape(-1, len(self.mixes), len(axes))
            return np.array([hypervolume(points, corner) for points in flat]).reshape(gains.shape[:-2])

        return interval(statistic, *self._samples(axes))

    def _samples(self, axes: Iterable[int]) -> list[Sample]:
        """List the totals of the base, then of each mix, objective by objective."""
        objectives = list(axes)
        return [outcomes.total(o) for outcomes in (self.base, *self.mixes) for o in objectives]

    def _gains(self, means: Floats, objectives: int) -> Floats:
        """Turn means [..., (1 + k) · O] in the order of `_samples` into gains [..., k, O]."""
        shaped = means.reshape(*means.shape[:-1], -1, objectives)
        gains: Floats = 100 * (shaped[..., 1:, :] / shaped[..., :1, :] - 1)
        return gains


def reached(point: PointResults) -> dict[str, MixResults]:
    """Read what each method with lists under several mixes reaches."""
    base = point.outcomes(BASE)
    if isinstance(base, Missing):
        return {}
    found = {name: MixResults(base, _mixes(point, name)) for name in point.point.methods}
    return {name: results for name, results in found.items() if len(results.mixes) > 1}


def front_charts(point: PointResults) -> Iterator[Chart]:
    """Draw clicks against GMV and clicks against purchases, the best mixes of each method."""
    points = {name: results.gains for name, results in reached(point).items()}
    for title, (x, y) in _AXES.items() if points else ():
        yield Chart(
            name=f"front-clicks-{title.lower()}",
            title=f"Clicks and {title} under several α, β, γ",
            kind="front",
            x_title="clicks over the base, %",
            y_title=f"{title} over the base, %",
            lines=[_line(title_of(point, name), found[:, (x, y)]) for name, found in points.items()],
            points=True,
        )


def hypervolume_table(point: PointResults) -> Table | None:
    """Lay out the hypervolume of each method's points; None without points."""
    methods = reached(point)
    if not methods:
        return None
    mixes = len(point.point.mixes)
    lowest = np.concatenate([results.gains for results in methods.values()]).min(axis=0)
    spaces = {"clicks and GMV": (0, 2), "clicks and purchases": (0, 1), "all three": (0, 1, 2)}
    columns = [Column(title="mixes on the front", form="number", digits=0)]
    columns += [Column(title=title, form="number", digits=1) for title in spaces]

    def row(name: str, found: MixResults) -> Row:
        made = Row(name=name, title=title_of(point, name), figures=(), group=_group(point, name))
        if len(found.mixes) < mixes:  # Fewer points reach less, whatever they are worth.
            return replace(made, figures=[NONE] * len(columns), note=f"{len(found.mixes)} of {mixes} mixes")
        on_front = Figure(mean=float(len(front_of(found.gains))))
        return replace(made, figures=[on_front, *(found.volume(axes, lowest) for axes in spaces.values())])

    low = ", ".join(f"{fixed(value, 2, sign=True)}%" for value in lowest)
    caption = (
        f"The area, or of all three the volume, that a method's gains reach under {mixes} mixes of α, "
        f"β, γ: in percent of gain times percent of gain, larger is better. Gains are over the base at α, β, γ = "
        f"{', '.join(f'{w:g}' for w in point.point.mixes[0])}, and count from the lowest of any method and mix: {low} "
        f"(clicks, purchases, GMV). {intervals_note(point.point.mix_seeds)}"
    )
    rows = [row(name, found) for name, found in methods.items()]
    return Table(name="front-clicks-gmv-hypervolume", title="Hypervolumes", caption=caption, columns=columns, rows=rows)


def front_of(points: Floats) -> Floats:
    """Keep the points [n, O] that no other beats in one objective without losing in another."""
    rows = NonDominatedSorting().do(-points, only_non_dominated_front=True)  # pymoo minimises.
    front: Floats = points[np.sort(rows)]
    return front


def hypervolume(points: Floats, reference: Floats) -> float:
    """Compute the volume that points [n, O] dominate above a reference point [O]."""
    return float(HV(ref_point=-reference)(-points))


def _mixes(point: PointResults, name: str) -> list[Outcomes]:
    """Read a method's outcomes by mix; none unless some seed has all of them."""
    found = (point.outcomes(name, mix) for mix in range(len(point.point.mixes)))
    known = [outcomes for outcomes in found if isinstance(outcomes, Outcomes)]
    seeds = [set(outcomes.seeds) for outcomes in known if outcomes.seeds]
    return [] if seeds and not set.intersection(*seeds) else known


def _line(title: str, points: Floats) -> Line:
    front = front_of(points)
    front = front[np.argsort(front[:, 0], kind="stable")]
    return Line(title=title, x=front[:, 0].tolist(), y=front[:, 1].tolist())


def _group(point: PointResults, name: str) -> str:
    return point.methods[name].group
