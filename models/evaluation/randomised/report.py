"""Lay out the figures of `listwright evaluate randomised` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from models.evaluation.randomised.estimators import FEWEST
from models.evaluation.tables import interval_text, markdown_table

_CALIBRATION: Final = {
    "ratio": "realised / predicted",
    "slope": "slope between lists",
    "context_slope": "its context",
    "within_slope": "slope within lists",
    "within_context_slope": "its context",
}


def calibration_table(rows: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Show per objective the share of promised value that comes true, and that of the list context's part."""
    cells = [[name, *(interval_text(row[key] if row else None) for key in _CALIBRATION)] for name, row in rows.items()]
    note = "A slope is that of realised on predicted value: 1 if all comes true, 0 if nothing of the differences does."
    return f"{markdown_table(['objective', *_CALIBRATION.values()], cells)}\n\n{note}"


def orders_table(rows: Sequence[Mapping[str, Any]], promised: Mapping[str, float]) -> str:
    """Show per outcome and estimator the plan against the sort; `promised` is the gain that the model expects."""
    signed = partial(interval_text, sign="+")
    cells = []
    for name, gain in promised.items():
        for row in rows:
            found = row["outcomes"][name]
            agreements = [f"{row['agreements'][o]:,} ({row['weights'][o]:.2f})" for o in ("plan", "sort")]
            values = [interval_text(found["plan"]), interval_text(found["sort"]), signed(found["difference"])]
            cells.append([name, _estimator(row), *agreements, *values])
        cells.append([name, "what the model promises", "", "", "", "", f"{gain:+.4f}"])
    heads = ["outcome a list", "estimator", "agreements (weight) of plan", "of sort", "plan", "sort", "plan less sort"]
    note = (
        f"–: fewer than {FEWEST} agreements, too few for an interval. The weights sum to 1 if chances are as assumed."
    )
    return f"{markdown_table(heads, cells, texts=2)}\n\n{note}"


def coverage_table(rows: Mapping[float, Sequence[Mapping[str, Any]]]) -> str:
    """Show per context strength κ and estimator the share of intervals that hold the truth."""
    heads = [
        *("κ", "estimator", "true difference in clicks", "mean estimate"),
        *("mean half width", "95% intervals that hold it"),
    ]
    cells = []
    for kappa, found in rows.items():
        for row in found:
            values = ["–"] * 3
            if row["logs"]:
                covered = f"{row['covered']:.0%} of {row['logs']}"
                values = [f"{row['estimate']:+.3f}", f"{row['half_width']:.3f}", covered]
            cells.append([f"{kappa:g}", _estimator(row), f"{row['true']:+.3f}", *values])
    return markdown_table(heads, cells, texts=2)


def _estimator(row: Mapping[str, Any]) -> str:
    places = "first place" if row["places"] == 1 else f"first {row['places']} places"
    return f"{row['estimator']}, {places}"
