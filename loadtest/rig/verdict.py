"""Show targets beside measured figures, and tables in general, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate


@dataclass(frozen=True, slots=True)
class Check:
    """One target in words, the measured figure in words, and whether the target was reached."""

    name: str
    target: str
    measured: str
    passed: bool


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table: the first column to the left, others to the right."""
    align = ["left", *["right"] * (len(head) - 1)]
    return tabulate(list(rows), head, "pipe", disable_numparse=True, colalign=align)


def checks_table(checks: Sequence[Check]) -> str:
    """Return the checks as Markdown; a missed target stands out."""
    rows = [(c.name, c.target, c.measured, "pass" if c.passed else "**missed**") for c in checks]
    return markdown(("", "target", "measured", ""), rows)


def counts(found: Mapping[str, int]) -> str:
    """Return ``3 shed, 1 overloaded``, the most frequent first, or ``none``."""
    return ", ".join(f"{n} {what}" for what, n in sorted(found.items(), key=lambda pair: -pair[1])) or "none"


def finite(value: Any) -> Any:
    """Return plain JSON types, with None for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
