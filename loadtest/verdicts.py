"""Targets that a measurement is held against, and the table that says which were reached. Knows nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """What must be reached, and what was. `limit` bounds `value` from above, or from below if `at_least`."""

    text: str
    limit: float
    value: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether it was. What could not be measured (NaN) was not reached."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def target_table(targets: Sequence[Target]) -> str:
    """A row of Markdown for each."""
    lines = table_head(["target", "limit", "measured", ""])
    for t in targets:
        sign = "≥" if t.at_least else "≤"
        lines.append(
            table_row([t.text, f"{sign} {t.limit:g}", f"{t.value:.3f}", "reached" if t.reached else "not reached"])
        )
    return "\n".join(lines)


def table_head(names: Sequence[str]) -> list[str]:
    """The two first lines of a table whose first column is text and whose others are numbers."""
    return [table_row(names), "|---" + "|---:" * (len(names) - 1) + "|"]


def table_row(cells: Sequence[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"
