"""Lay out figures as Markdown tables: any rows, compared orders, a value model's quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tabulate import tabulate

from models.contract.spec import OBJECTIVES

PREFIXES: Final = (1, 5, 10, 20)
"""Prefix lengths that the value model's table shows, beside the whole list."""

_TITLES: Final = {"click": "clicks", "conversion": "purchases", "gmv": "GMV"}
_NDCG_TITLES: Final = {**_TITLES, "gmv": "GMV, weighted by money"}
"""Of NDCG as `scoring` takes its mean; training prints the plain mean over lists."""
_MEASURES: Final = ("r_auc", "pcoc", "rmse")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """Lay out rows as a Markdown table, the first `texts` columns to the left."""
    sides = ("left",) * texts + ("right",) * (len(heads) - texts)
    return tabulate([list(row) for row in rows], list(heads), "pipe", colalign=sides, disable_numparse=True)


def interval_text(value: Mapping[str, float] | None, *, sign: str = "", digits: int = 4, missing: str = "–") -> str:
    """Write an interval as ``mean [low, high]``."""
    if value is None:
        return missing
    mean, low, high = (f"{value[key]:{sign}.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def comparison_tables(summary: Mapping[str, Any]) -> str:
    """Show per group of lists NDCG of every order, and the served orders' gains."""
    return "\n\n".join(f"**{group}**\n\n{_orders(row)}\n\n{_differences(row)}" for group, row in summary.items() if row)


def value_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Show R-AUC, PCOC and RMSE per objective and prefix length, mean over folds.

    `reports` are the ``test`` parts of ``metrics.json``, one per fold.
    """
    rows = []
    for name in OBJECTIVES:
        known = [r[name] for r in reports if r[name] is not None]
        for length in PREFIXES if known else ():
            parts = [p for r in known for p in r["prefix"] if p["length"] == length]
            rows += _value_row(_TITLES[name], str(length), parts)
        rows += _value_row(_TITLES[name], "whole list", [r["list"] for r in known])
    return markdown_table(["objective", "items", "lists", "R-AUC", "PCOC", "RMSE"], rows)


def _value_row(name: str, length: str, parts: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    if not parts:
        return []
    figures = (_over_folds([part[m] for part in parts if part[m] is not None]) for m in _MEASURES)
    return [[name, length, str(sum(part["lists"] for part in parts)), *figures]]


def _over_folds(values: Sequence[float]) -> str:
    if not values:
        return "–"
    digits = 3 if max(values) < 10 else 0
    mean = f"{sum(values) / len(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _orders(row: Mapping[str, Any]) -> str:
    heads = [f"{_NDCG_TITLES[name]} ({part['lists']} lists)" for name, part in row.items()]
    orders = next(iter(row.values()))["ndcg"]
    cells = [[order, *(interval_text(part["ndcg"][order], digits=3) for part in row.values())] for order in orders]
    return markdown_table(["order", *heads], cells)


def _differences(row: Mapping[str, Any]) -> str:
    heads = [f"{_NDCG_TITLES[name]}, less {rival}" for name in row for rival in ("prior sort", "as shown")]
    cells = []
    for order in next(iter(row.values()))["differences"]:
        rivals = [part["differences"][order][rival] for part in row.values() for rival in ("prior", "shown")]
        cells.append([order, *(interval_text(rival, sign="+", digits=3) for rival in rivals)])
    return markdown_table(["order", *heads], cells)
