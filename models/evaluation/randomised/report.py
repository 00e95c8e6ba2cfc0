"""The figures of `listwright evaluate randomised` as Markdown. They only lay figures out; every figure comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.evaluation.randomised.estimators import FEWEST

_SIGNED: Final = "+"
_CALIBRATION: Final = ("ratio", "slope", "context_slope", "within_slope", "within_context_slope")


def calibration_table(rows: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Per objective what comes true of what was promised, and of what the list context adds to it."""
    lines = [
        "| objective | realised / predicted | slope between lists | its context | slope within lists | its context |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        cells = [_interval(row[key]) if row else "–" for key in _CALIBRATION]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    note = "A slope is that of realised on predicted value: 1 if all comes true, 0 if nothing of the differences does."
    return "\n".join([*lines, "", note])


def orders_table(rows: Sequence[Mapping[str, Any]], promised: Mapping[str, float]) -> str:
    """Per outcome and estimator the plan against the sort; `promised` is the gain that the model expects."""
    lines = [
        "| outcome a list | estimator | agreements (weight) of plan | of sort | plan | sort | plan less sort |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, gain in promised.items():
        for row in rows:
            agreements = " | ".join(
                f"{row['agreements'][order]:,} ({row['weights'][order]:.2f})" for order in ("plan", "sort")
            )
            found = row["outcomes"][name]
            cells = [_interval(found["plan"]), _interval(found["sort"]), _interval(found["difference"], _SIGNED)]
            lines.append(f"| {name} | {_estimator(row)} | {agreements} | {' | '.join(cells)} |")
        lines.append(f"| {name} | what the model promises | | | | | {gain:+.4f} |")
    note = (
        f"–: fewer than {FEWEST} agreements, too few for an interval. The weights sum to 1 if chances are as assumed."
    )
    return "\n".join([*lines, "", note])


def coverage_table(rows: Mapping[float, Sequence[Mapping[str, Any]]]) -> str:
    """Per context strength κ and estimator how often the interval holds the truth."""
    lines = [
        "| κ | estimator | true difference in clicks | mean estimate | mean half width | 95% intervals that hold it |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for kappa, found in rows.items():
        for row in found:
            cells = "– | – | –"
            if row["logs"]:
                cells = f"{row['estimate']:+.3f} | {row['half_width']:.3f} | {row['covered']:.0%} of {row['logs']}"
            lines.append(f"| {kappa:g} | {_estimator(row)} | {row['true']:+.3f} | {cells} |")
    return "\n".join(lines)


def _estimator(row: Mapping[str, Any]) -> str:
    places = "first place" if row["places"] == 1 else f"first {row['places']} places"
    return f"{row['estimator']}, {places}"


def _interval(value: Mapping[str, float] | None, sign: str = "") -> str:
    return "–" if value is None else f"{value['mean']:{sign}.4f} [{value['low']:{sign}.4f}, {value['high']:{sign}.4f}]"
