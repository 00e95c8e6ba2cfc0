"""Markdown tables of `listwright evaluate`: orders against each other, and how good the value model is.

They only lay figures out; every figure comes in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.contract.spec import OBJECTIVES

PREFIXES: Final = (1, 5, 10, 20)
"""Prefix lengths that the value model's table shows, beside the whole list."""

_TITLES: Final = {"click": "clicks", "conversion": "purchases", "gmv": "GMV"}
_MEASURES: Final = ("r_auc", "pcoc", "rmse")


def comparison_tables(summary: Mapping[str, Any]) -> str:
    """Per group of lists: NDCG of every order, then what the served orders gain, with 95% intervals over lists."""
    return "\n\n".join(f"**{group}**\n\n{_orders(row)}\n\n{_differences(row)}" for group, row in summary.items() if row)


def value_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """R-AUC, PCOC and RMSE per objective and prefix length on the test lists, mean over folds (least to most).

    `reports` are the ``test`` parts of ``metrics.json``, one per fold.
    """
    lines = [_row("objective", "items", "lists", "R-AUC", "PCOC", "RMSE"), _rule(6)]
    for name in OBJECTIVES:
        known = [r[name] for r in reports if r[name] is not None]
        for length in PREFIXES if known else ():
            rows = [p for r in known for p in r["prefix"] if p["length"] == length]
            lines += _value_row(_TITLES[name], str(length), rows)
        lines += _value_row(_TITLES[name], "whole list", [r["list"] for r in known])
    return "\n".join(lines)


def _value_row(name: str, length: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    figures = (_over_folds([row[m] for row in rows if row[m] is not None]) for m in _MEASURES)
    return [_row(name, length, str(sum(row["lists"] for row in rows)), *figures)]


def _over_folds(values: Sequence[float]) -> str:
    if not values:
        return "–"
    digits = 3 if max(values) < 10 else 0
    mean = f"{sum(values) / len(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _orders(row: Mapping[str, Any]) -> str:
    heads = [f"{_TITLES[name]} ({part['lists']} lists)" for name, part in row.items()]
    lines = [_row("order", *heads), _rule(1 + len(heads))]
    for order in next(iter(row.values()))["ndcg"]:
        lines.append(_row(order, *(_interval(part["ndcg"][order]) for part in row.values())))
    return "\n".join(lines)


def _differences(row: Mapping[str, Any]) -> str:
    heads = [f"{_TITLES[name]}, less {rival}" for name in row for rival in ("prior sort", "as shown")]
    lines = [_row("order", *heads), _rule(1 + len(heads))]
    for order in next(iter(row.values()))["differences"]:
        rivals = [part["differences"][order][rival] for part in row.values() for rival in ("prior", "shown")]
        lines.append(_row(order, *(_interval(rival, sign="+") for rival in rivals)))
    return "\n".join(lines)


def _interval(value: Mapping[str, float], *, sign: str = "") -> str:
    return f"{value['mean']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|---" + "|---:" * (columns - 1) + "|"
