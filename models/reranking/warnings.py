"""Count what a service warned of, over many answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

_MOST_TOLD: Final = 20


class FieldWarning(msgspec.Struct):
    """A part of a request that was of no use; see docs/api.md."""

    field: str
    problem: str


class WarningTally:
    """Count answers, their warnings by field and problem, and those without the model."""

    def __init__(self) -> None:
        self.answers = 0
        self._warnings = Counter[tuple[str, str]]()
        self._degraded = Counter[str]()

    def add(self, warnings: Iterable[FieldWarning], degraded: str | None = None) -> None:
        """Count one answer, and the reason why it is not the model's, if any."""
        self.answers += 1
        self._warnings.update({(warning.field, warning.problem) for warning in warnings})
        if degraded is not None:
            self._degraded[degraded] += 1

    def lines(self, unit: str) -> Iterator[str]:
        """Say what was counted, most frequent first; `unit` is what an answer is called."""
        for reason, count in self._degraded.most_common():
            yield f"not ranked by the model ({reason}): {count:,} of {self.answers:,} {unit}"
        ordered = self._ordered()
        for (field, problem), count in ordered[:_MOST_TOLD]:
            yield f"{field}: {problem.replace('-', ' ')} in {count:,} of {self.answers:,} {unit}"
        if len(ordered) > _MOST_TOLD:
            yield f"and {len(ordered) - _MOST_TOLD:,} more warnings"

    def to_json(self) -> list[dict[str, Any]]:
        """Describe the warnings as plain JSON, most frequent first."""
        return [{"field": field, "problem": problem, "answers": n} for (field, problem), n in self._ordered()]

    def _ordered(self) -> Sequence[tuple[tuple[str, str], int]]:
        return sorted(self._warnings.items(), key=lambda counted: (-counted[1], counted[0]))
