"""Define alerts and recording rules as data, and render them with any length of windows.

In an expression ``@name`` stands for one of the rule's windows, limits or floors, ``@by`` for the labels that tell two
services apart, and ``@jobs`` for the selector of the service's targets. ``{{ $value }}`` in texts is Prometheus' own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Final, Literal

Severity = Literal["page", "ticket"]
"""`page` wakes somebody, and is for harm that users see now. A `ticket` can wait for the working day."""

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

BY: Final = "namespace, job"
"""Labels that tell one deployment from another; Prometheus without Kubernetes has no `namespace`, which is the same."""

JOBS: Final = 'job=~"listwright.*"'
RUNBOOK: Final = "https://listwright.example/docs/runbook.md"
"""Address of the runbook, unless `make alerts RUNBOOK=URL` names where it can be read."""

_UNITS: Final = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (1, "s"))


class _Text(Template):
    """Template with ``@name``, since Prometheus has its own use for the dollar sign."""

    delimiter = "@"


def duration(seconds: int) -> str:
    """Write seconds as Prometheus does, in the largest unit that leaves no rest."""
    return next(f"{seconds // size}{unit}" for size, unit in _UNITS if seconds % size == 0)


@dataclass(frozen=True, slots=True)
class Pace:
    """Give lengths of windows and holds, and floors: as written, or for a test."""

    divisor: int = 1
    least_window: int = 0
    most_window: int = 365 * DAY
    most_hold: int = 365 * DAY
    most_floor: float = float("inf")

    def window(self, seconds: int) -> str:
        """Return the length of a range or an offset."""
        return duration(min(max(seconds // self.divisor, self.least_window), self.most_window))

    def hold(self, seconds: int) -> str:
        """Return the time for which an expression must hold."""
        return duration(min(seconds // self.divisor, self.most_hold))

    def floor(self, least: float) -> float:
        """Return the least number of events."""
        return min(least, self.most_floor)


AS_WRITTEN: Final = Pace()
SHORTENED: Final = Pace(divisor=60, least_window=15, most_window=30, most_hold=2, most_floor=20)
"""Windows of 15 to 30 s, for targets that are scraped every two seconds."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Hold an expression and its parameters: windows in seconds, limits, floors in events."""

    expr: str
    windows: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)

    def fill(self, text: str, pace: Pace) -> str:
        """Put the parameters into a text. Raises `KeyError` for an unknown one."""
        values = {name: pace.window(seconds) for name, seconds in self.windows.items()}
        values |= {name: f"{limit:g}" for name, limit in self.limits.items()}
        values |= {name: f"{pace.floor(floor):g}" for name, floor in self.floors.items()}
        return _Text(text).substitute(values, by=BY, jobs=JOBS)


@dataclass(frozen=True, kw_only=True)
class Record(Rule):
    """Keep the value of an expression as a series."""

    name: str

    def render(self, pace: Pace, runbook: str) -> dict[str, object]:  # noqa: ARG002 - as an alert is rendered
        """Return the rule in Prometheus' form."""
        return {"record": self.name, "expr": self.fill(self.expr, pace)}


@dataclass(frozen=True, kw_only=True)
class Alert(Rule):
    """Tell somebody once an expression has held for `hold` seconds."""

    name: str
    severity: Severity
    summary: str
    description: str
    hold: int = 0

    def render(self, pace: Pace, runbook: str) -> dict[str, object]:
        """Return the rule in Prometheus' form; `runbook` is the address of the page."""
        return {
            "alert": self.name,
            "expr": self.fill(self.expr, pace),
            **({"for": pace.hold(self.hold)} if self.hold else {}),
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.fill(self.summary, pace),
                "description": self.fill(self.description, pace),
                "runbook_url": f"{runbook}#{self.name.lower()}",
            },
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Name rules that are evaluated together, in their order."""

    name: str
    rules: Sequence[Record | Alert]

    def render(self, pace: Pace, runbook: str) -> dict[str, object]:
        """Return the group in Prometheus' form."""
        return {"name": self.name, "rules": [rule.render(pace, runbook) for rule in self.rules]}


def share_of_arrivals(bad: str, *labels: str) -> str:
    """Return an expression: events of `bad` over all that arrived, in `@window`, by more `labels`.

    What `bad` counts is not among the valid requests, so it is added to them.
    """
    by = ", ".join(("@by", *labels))
    return f"""\
sum by ({by}) (rate({bad}[@window]))
  / on (@by) group_left ()
(
  sum by (@by) (rate(rerank_slo_valid_total{{objective="latency"}}[@window]))
    + sum by (@by) (rate({bad}[@window]))
)
"""
