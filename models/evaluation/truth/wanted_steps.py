"""Select the steps that a run is asked for, by group, method and point."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from models.evaluation.steps import ExperimentStep
from models.evaluation.truth.method import Method
from models.evaluation.truth.paths import method_of, point_of
from models.evaluation.truth.registry import METHODS


def wanted_steps(
    steps: Sequence[ExperimentStep],
    groups: Collection[str],
    only: Collection[str] | None = None,
    points: Collection[str] | None = None,
    methods: Mapping[str, Method] = METHODS,
) -> set[str]:
    """Name the steps of some `groups`, for the lists of some methods at some points.

    `only` names methods, or groups of methods; None stands for all methods, or all points. Raises `ValueError` naming
    what the steps do not have.
    """
    plans = {step.name: method_of(step.name) for step in steps if step.group == "methods"}
    named = _methods(only, dict.fromkeys(plans.values()), methods)
    places = _points(points, dict.fromkeys(point_of(step.name) for step in steps))
    needs = {step.name: step.needs for step in steps}
    wanted: set[str] = set()
    waiting = [name for name, method in plans.items() if method in named and point_of(name) in places]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += needs[name]
    return {step.name for step in steps if step.name in wanted and step.group in groups}


def _methods(asked: Collection[str] | None, known: Iterable[str], methods: Mapping[str, Method]) -> set[str]:
    if asked is None:
        return set(known)
    found: set[str] = set()
    for name in asked:
        named = [name] if name in known else [method for method in known if methods[method].group == name]
        if not named:
            raise ValueError(f"--only: {name!r} is not in this profile; it has {', '.join(known)}")
        found.update(named)
    return found


def _points(asked: Collection[str] | None, known: Iterable[str]) -> set[str]:
    for name in asked or ():
        if name not in known:
            raise ValueError(f"--points: {name!r} is not in this profile; it has {', '.join(known)}")
    return set(known if asked is None else asked)
