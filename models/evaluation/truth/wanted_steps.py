"""Select the steps that a run is asked for, by group, method and point."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from models.evaluation.steps import ExperimentStep
from models.evaluation.truth.paths import point_of


def wanted_steps(
    steps: Sequence[ExperimentStep],
    groups: Collection[str],
    methods: Collection[str] | None = None,
    points: Collection[str] | None = None,
) -> set[str]:
    """Name the steps of some `groups`, for the lists of some methods at some points.

    None stands for all methods, or all points. Raises `ValueError` naming a method or point that there is not.
    """
    plans = {step.name: method_of(step) for step in steps if step.group == "methods"}
    _check("--only", methods, plans.values())
    _check("--points", points, [point_of(step.name) for step in steps])
    needs = {step.name: step.needs for step in steps}
    wanted: set[str] = set()
    waiting = [name for name, method in plans.items() if _among(method, methods) and _among(point_of(name), points)]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += needs[name]
    return {step.name for step in steps if step.name in wanted and step.group in groups}


def method_of(step: ExperimentStep) -> str:
    """Name the method whose lists a step makes."""
    return step.name.split("/")[2]


def _among(name: str, asked: Collection[str] | None) -> bool:
    return asked is None or name in asked


def _check(option: str, asked: Collection[str] | None, known: Collection[str]) -> None:
    for name in asked or ():
        if name not in known:
            raise ValueError(f"{option}: {name!r} is not in this profile; it has {', '.join(dict.fromkeys(known))}")
