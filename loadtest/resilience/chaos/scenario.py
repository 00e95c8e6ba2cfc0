"""Describe one fault and its right behaviour, and hold what came of injecting it.

A `Scenario` injects a fault through a `Trial`, which collects checks and what the clients saw. A check is one right
behaviour; a scenario fails if any of its checks does, if it made no check at all, or if it could not be carried out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tabulate import tabulate

from loadtest.rig.subject import Check, counts

HEAD: Final = ("fault", "how", "right behaviour", "clients saw", "lost", "verdict")
"""Columns of the table here and in docs/reliability.md."""


class Skipped(Exception):
    """Report a fault that this machine cannot inject; the message says why."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Largest resident memory of one process in MiB: when idle, and during the fault."""

    idle_mb: float
    peak_mb: float


@dataclass
class Trial:
    """Collect the evidence of one scenario.

    `scratch` is a folder of its own, `cache` one for optimised graphs that all trials share. `held` are the client
    ports of connections that a killed or stopped worker held: their requests may stay unanswered.
    """

    scratch: Path
    cache: Path
    rng: random.Random
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    saw: Counter[str] = field(default_factory=Counter)
    held: set[int] = field(default_factory=set)
    lost: int | None = None
    recovery_seconds: float | None = None
    memory: Memory | None = None

    def expect(self, name: str, target: str, measured: object, passed: bool) -> None:
        """Add a check, with target and finding in words."""
        self.checks.append(Check(name, target, str(measured), passed))

    def equal(self, name: str, expected: object, found: object) -> None:
        """Add a check that two values are equal."""
        self.expect(name, str(expected), found, expected == found)

    def one_of(self, name: str, allowed: Sequence[object], found: object) -> None:
        """Add a check that a value is among the allowed ones."""
        self.expect(name, " or ".join(map(str, allowed)), found, found in allowed)

    def at_most(self, name: str, most: float, found: float, unit: str = "") -> None:
        """Add a check that a number is not above a limit."""
        self.expect(name, f"≤ {most:g}{unit}", f"{found:.1f}{unit}", found <= most)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One fault, how it is injected, and what is right then.

    `row` is that of the list of faults which the scenarios came from, 0 for what held before. `quick` ones make up the
    short form, which the tests run.
    """

    name: str
    row: int
    fault: str
    how: str
    right: str
    act: Callable[[Trial], None]
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one scenario, and why it was skipped or broke off."""

    scenario: Scenario
    trial: Trial
    seconds: float
    skipped: str | None = None
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Tell whether the service, or the scenario itself, did not do what is right."""
        if self.skipped is not None:
            return False
        return self.error is not None or not self.trial.checks or not all(c.passed for c in self.trial.checks)

    @property
    def verdict(self) -> str:
        """The verdict in one word, as the table shows it."""
        if self.skipped is not None:
            return "skipped"
        return "**failed**" if self.failed else "pass"

    def faults(self) -> list[str]:
        """Say each check that failed, and what broke the scenario off."""
        missed = [f"{c.name}: {c.measured} instead of {c.target}" for c in self.trial.checks if not c.passed]
        return [*missed, *([] if self.error is None else [f"broke off: {self.error}"])]

    def to_json(self) -> Mapping[str, object]:
        """Return everything as plain JSON types."""
        s, t = self.scenario, self.trial
        return {
            "name": s.name,
            "row": s.row,
            "fault": s.fault,
            "how": s.how,
            "right": s.right,
            "verdict": self.verdict.strip("*"),
            "seconds": round(self.seconds, 2),
            "skipped": self.skipped,
            "error": self.error,
            "saw": dict(t.saw),
            "lost": t.lost,
            "recovery_seconds": t.recovery_seconds,
            "memory": None if t.memory is None else {"idle_mb": t.memory.idle_mb, "peak_mb": t.memory.peak_mb},
            "checks": [
                {"name": c.name, "target": c.target, "measured": c.measured, "passed": c.passed} for c in t.checks
            ],
            "notes": t.notes,
        }


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as Markdown, one row for each."""
    rows = []
    for outcome in outcomes:
        s, t = outcome.scenario, outcome.trial
        lost = "–" if t.lost is None else str(t.lost)
        rows.append((s.fault, s.how, s.right, counts(t.saw) if t.saw else "–", lost, outcome.verdict))
    return tabulate(rows, HEAD, "pipe", disable_numparse=True)


def details(outcomes: Iterable[Outcome]) -> list[str]:
    """Say what failed, what was skipped and why, and the notes, a line for each."""
    lines = []
    for outcome in outcomes:
        name = outcome.scenario.name
        lines += [f"- {name}: FAILED: {fault}" for fault in outcome.faults() if outcome.failed]
        lines += [f"- {name}: skipped: {outcome.skipped}"] if outcome.skipped is not None else []
        lines += [f"- {name}: {note}" for note in outcome.trial.notes]
    return lines
