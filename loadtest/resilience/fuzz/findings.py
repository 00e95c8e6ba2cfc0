"""Collect what a run of fuzzing has found."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

_MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something unexpected, and the file, if any, that sends it again."""

    fault: str
    file: Path | None = None


@dataclass(slots=True)
class Findings:
    """Count cases and statuses; `unexpected` is empty if all is well."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    unexpected: list[Finding] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def add(self, fault: str | None, file: Path | None = None) -> None:
        """Note a fault, if there is one."""
        if fault is not None:
            self.unexpected.append(Finding(fault, file))

    def table(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        found = [{**asdict(finding), "file": finding.file and str(finding.file)} for finding in self.unexpected]
        statuses = {str(status): n for status, n in sorted(self.statuses.items())}
        return {"cases": self.cases, "statuses": statuses, "unexpected": found, **self.figures}

    def render(self, name: str) -> str:
        """Show the summary as text."""
        statuses = ", ".join(f"{status}: {n}" for status, n in sorted(self.statuses.items()))
        lines = [f"{name}: {self.cases} cases, {len(self.unexpected)} unexpected; answers {statuses}"]
        lines += [f"  {key}: {value}" for key, value in self.figures.items()]
        shown = self.unexpected[:_MOST_SHOWN]
        lines += [f"  - {finding.fault}" + (f" ({finding.file})" if finding.file else "") for finding in shown]
        return "\n".join(lines)
