"""Make rows of tables from outcomes, and say so where a method has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from models.evaluation.truth.figures.intervals import Sample, gain, share
from models.evaluation.truth.figures.outcomes import Outcomes
from models.evaluation.truth.figures.results import FAILED, Missing, PointResults
from models.planners.references.sort_gen import Preferences
from models.reporting.contents import Column, Figure, Row

BASE: Final = "base"
SORT_GEN: Final = "sort-gen"
SORT_GEN_PAPER: Final = "sort-gen-paper"
SORT_GEN_BEAM: Final = "sort-gen-beam"
TRUE_BEAM: Final = "true-beam"
TRUE_QUEUES: Final = "true-queues-beam"
"""The search of SORT-Gen's beam over the same queues, with true values."""

RIVALS: Final = "rivals"
OURS: Final = "ours"

NONE: Final = Figure(text="–")
MEASURES: Final = ("clicks", "purchases", "GMV", "list value")
GAIN_COLUMNS: Final = tuple(Column(title=title) for title in ("CLICK", "ORDER", "GMV", "list value"))
"""The measures under the names of the paper's tables."""


def samples(outcomes: Outcomes, preferences: Preferences) -> list[Sample]:
    """List an outcome's samples in the order of `MEASURES`."""
    return [*(outcomes.total(o) for o in range(3)), outcomes.worth(preferences)]


def gains(ours: Outcomes | Missing, theirs: Outcomes | Missing, preferences: Preferences) -> list[Figure]:
    """Compute the relative gains of one method over another, by `MEASURES`.

    Dashes where one has no lists.
    """
    if isinstance(ours, Missing) or isinstance(theirs, Missing):
        return [NONE] * len(MEASURES)
    pairs = zip(samples(ours, preferences), samples(theirs, preferences), strict=True)
    return [gain(x, y) for x, y in pairs]


def value_gain(point: PointResults, ours: str, theirs: str, mix: int = 0) -> Figure | None:
    """Compute the gain in list value of one method over another.

    None where they cannot be compared.
    """
    found = both(point, ours, theirs, mix)
    if found is None:
        return None
    preferences = point.preferences(mix)
    return gain(found[0].worth(preferences), found[1].worth(preferences))


def value_share(point: PointResults, part: str, whole: str) -> Figure | None:
    """Divide a method's gain in list value over the base by another's.

    None where it is not known.
    """
    found = both(point, part, whole)
    base = point.outcomes(BASE)
    if found is None or isinstance(base, Missing):
        return None
    preferences = point.preferences()
    return share(*(outcomes.worth(preferences) for outcomes in (*found, base)))


def both(point: PointResults, ours: str, theirs: str, mix: int = 0) -> tuple[Outcomes, Outcomes] | None:
    """Read the outcomes of two methods.

    None where one has no lists, or they have no seed in common.
    """
    x, y = point.outcomes(ours, mix), point.outcomes(theirs, mix)
    if isinstance(x, Missing) or isinstance(y, Missing):
        return None
    apart = x.seeds and y.seeds and not set(x.seeds) & set(y.seeds)
    return None if apart else (x, y)


def row_of(
    point: PointResults,
    name: str,
    columns: int,
    figures: Callable[[Outcomes], Sequence[Figure]],
    beside: Sequence[Figure] = (),
) -> Row:
    """Make a method's row of measured figures, and those `beside` them.

    Without lists, it says why not.
    """
    method = point.methods.get(name)
    row = Row(name=name, title=method.title if method else name, group=method.group if method else "", figures=())
    found = point.outcomes(name)
    if isinstance(found, Missing):
        return replace(row, figures=[*[Figure(text=found.text)] * columns, *beside], note=found.reason)
    try:
        return replace(row, figures=[*figures(found), *beside], note=_note(point, name))
    except ValueError as error:  # no seed in common with what it is compared with
        return replace(row, figures=[*[Figure(text=FAILED)] * columns, *beside], note=str(error))


def strongest(point: PointResults, names: Sequence[str]) -> str | None:
    """Choose the method of the highest mean list value among `names`.

    None where none has lists.
    """
    found = {name: point.outcomes(name) for name in names}
    means = {
        name: float(np.mean(outcomes.worth(point.preferences()).values))
        for name, outcomes in found.items()
        if isinstance(outcomes, Outcomes)
    }
    return max(means, key=lambda name: means[name]) if means else None


def strongest_rival(point: PointResults) -> str | None:
    """Choose the strongest rival of the paper's Table 1's form, by list value."""
    return strongest(point, of_groups(point, RIVALS))


def rivals_run(point: PointResults) -> str:
    """Say how many rivals the strongest was chosen from, if not from all; else empty."""
    names = of_groups(point, RIVALS)
    done = sum(isinstance(point.outcomes(name), Outcomes) for name in names)
    return "" if done == len(names) else f"of the {done} of {len(names)} rivals that were run"


def of_groups(point: PointResults, *groups: str) -> list[str]:
    """List a point's methods of some groups, group by group."""
    known = [point.methods[name] for name in point.point.methods if name in point.methods]
    return [method.name for group in groups for method in known if method.group == group]


def title_of(point: PointResults, name: str) -> str:
    """Return a method's title; its name if it is unknown."""
    return point.methods[name].title if name in point.methods else name


def _note(point: PointResults, name: str) -> str:
    done, wanted = point.seeds_done(name)
    parts = ["knows true values"] if point.methods[name].cheating else []
    return "; ".join([*parts, *([f"{done} of {wanted} seeds"] if done < wanted else [])])
