"""What was aimed at beside what was measured, as rows of a table. Knows nothing about what the rows are about."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One target in words, what was measured in words, and whether it was reached."""

    name: str
    target: str
    measured: str
    passed: bool


def table(checks: Sequence[Check]) -> str:
    """The rows as Markdown; a missed target stands out."""
    lines = ["| | target | measured | |", "|---|---|---|---|"]
    lines += [f"| {c.name} | {c.target} | {c.measured} | {'pass' if c.passed else '**missed**'} |" for c in checks]
    return "\n".join(lines)


def counts(found: Mapping[str, int]) -> str:
    """``3 shed, 1 overloaded``, or ``none``; the most frequent first."""
    return ", ".join(f"{n} {what}" for what, n in sorted(found.items(), key=lambda pair: -pair[1])) or "none"


def finite(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None
