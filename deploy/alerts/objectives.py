"""Alert on the two objectives: how fast their error budgets are used up.

The service counts good and valid requests against its own latency budget, so no number of milliseconds stands here. A
burn rate of 1 uses up a month's error budget in exactly a month. An alert looks at a long and a short window: the long
one says that it matters, the short one that it still goes on. Below the floor of valid requests there is no alert: one
bad request at night is no burn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.alerts.rules import AS_WRITTEN, DAY, HOUR, MINUTE, Alert, Group, Record, Severity

TARGET: Final = 0.99
"""Share of the valid requests that are to be good, of either objective."""


@dataclass(frozen=True, slots=True)
class Burn:
    """Define one speed of burning; `gone` says when a month's error budget is used up."""

    name: str
    severity: Severity
    rate: float
    long: int
    short: int
    hold: int
    floor: float
    gone: str


@dataclass(frozen=True, slots=True)
class Objective:
    """Define one objective by the label of its counters."""

    label: str
    name: str
    summary: str


BURNS: Final = (
    Burn("Fast", "page", 14.4, HOUR, 5 * MINUTE, 2 * MINUTE, 100, "a month's error budget is gone in two days"),
    Burn("Slow", "page", 6, 6 * HOUR, 30 * MINUTE, 15 * MINUTE, 300, "a month's error budget is gone in five days"),
    Burn("Ticket", "ticket", 1, 3 * DAY, 6 * HOUR, HOUR, 1000, "the month will miss its objective"),
)
OBJECTIVES: Final = (
    Objective("latency", "Latency", "valid requests without a list within the budget"),
    Objective("model", "Degraded", "lists that are not the model's"),
)


def _series(window: int) -> str:
    return f"rerank:slo_bad:ratio_rate{AS_WRITTEN.window(window)}"


def _bad(window: int) -> Record:
    """Record the share of bad requests in a window; nothing without requests."""
    return Record(
        name=_series(window),
        windows={"window": window},
        expr="""\
1 - sum by (@by, objective) (rate(rerank_slo_good_total[@window]))
  / (sum by (@by, objective) (rate(rerank_slo_valid_total[@window])) > 0)
""",
    )


def _alert(objective: Objective, burn: Burn) -> Alert:
    chosen = f'{{objective="{objective.label}"}}'
    return Alert(
        name=f"Rerank{objective.name}Burn{burn.name}",
        severity=burn.severity,
        hold=burn.hold,
        windows={"long": burn.long},
        limits={"rate": burn.rate, "budget": round(1 - TARGET, 6)},
        floors={"floor": burn.floor},
        expr=f"""\
{_series(burn.long)}{chosen} > @rate * @budget
  and {_series(burn.short)}{chosen} > @rate * @budget
  and sum by (@by, objective) (increase(rerank_slo_valid_total{chosen}[@long])) >= @floor
""",
        summary=objective.summary,
        description=f"{{{{ $value | humanizePercentage }}}} in the last @long; at this rate {burn.gone}.",
    )


_WINDOWS: Final = sorted({window for burn in BURNS for window in (burn.long, burn.short)})

GROUPS: Final = (
    Group(
        "listwright-objectives",
        [*map(_bad, _WINDOWS), *(_alert(objective, burn) for objective in OBJECTIVES for burn in BURNS)],
    ),
)
