"""Decide which step of an experiment comes next, and which cannot run.

A step cannot run if one that it needs failed, or is neither done nor to be run.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from models.evaluation.steps import ExperimentStep, forget_failure, is_done


class Schedule:
    """Hold the steps that wait and those that run.

    `failures` says by name why others failed or cannot run. A failure of an earlier run is forgotten: the step is tried
    again. Raises `ValueError` for a step that needs one which does not come before it.
    """

    def __init__(self, root: Path, steps: Sequence[ExperimentStep], wanted: Collection[str]) -> None:
        """Take all `steps` in their order, of which the `wanted` are to be run."""
        self.waiting: dict[str, ExperimentStep] = {}
        self.running: dict[str, ExperimentStep] = {}
        self.failures: dict[str, str] = {}
        self._done: set[str] = set()
        known: set[str] = set()
        for step in steps:
            missing = [need for need in step.needs if need not in known]
            if missing:
                raise ValueError(f"{step.name}: needs {missing[0]}, which does not come before it")
            known.add(step.name)
            if is_done(root, step.name):
                self._done.add(step.name)
            elif step.name in wanted:
                forget_failure(root, step.name)
                self.waiting[step.name] = step

    def skip_what_cannot_run(self) -> list[str]:
        """Give up steps that need one which is neither done nor wanted; return their names."""
        possible = self._done | self.waiting.keys()
        skipped = []
        for step in list(self.waiting.values()):
            missing = [need for need in step.needs if need not in possible]
            if missing and step.name in self.waiting:
                skipped += self._give_up(step.name, f"not run: needs {missing[0]}, which is not done")
        return skipped

    @property
    def left(self) -> int:
        """Count the steps that wait or run."""
        return len(self.waiting) + len(self.running)

    def startable(self) -> list[str]:
        """Name the steps that wait for nothing, in their order."""
        return [name for name, step in self.waiting.items() if self._done.issuperset(step.needs)]

    def start_next(self) -> str | None:
        """Take the first step that waits for nothing; None if there is none."""
        name = next(iter(self.startable()), None)
        if name is not None:
            self.running[name] = self.waiting.pop(name)
        return name

    def put_back(self, name: str) -> None:
        """Let a step that was broken off be the first to start."""
        self.waiting = {name: self.running.pop(name), **self.waiting}

    def finish(self, name: str) -> None:
        """Note that a step is done."""
        del self.running[name]
        self._done.add(name)

    def fail(self, name: str, reason: str) -> list[str]:
        """Note that a step failed; return the names of those that cannot run without it."""
        del self.running[name]
        self.failures[name] = reason
        return self._give_up_those_behind(name, f"not run: needs {name}, which failed")

    def _give_up(self, name: str, reason: str) -> list[str]:
        del self.waiting[name]
        self.failures[name] = reason
        return [name, *self._give_up_those_behind(name, reason)]

    def _give_up_those_behind(self, name: str, reason: str) -> list[str]:
        skipped = []
        for step in list(self.waiting.values()):
            if name in step.needs and step.name in self.waiting:
                skipped += self._give_up(step.name, reason)
        return skipped
