"""Report the earnings of planners where the truth is known, over the formula sort.

Axis letters: S checkpoints (1 for a row that no value model has a part in), n requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.embeddings import unit_embeddings
from models.contract.spec import OBJECTIVES
from models.evaluation.planning import ServedPlanner
from models.evaluation.simulated.comparison import BASELINE, OPTIMUM, RANDOM, SimulatedCase, true_values
from models.evaluation.tables import markdown_table
from models.judging.metrics import mean_interval, paired_interval, ratio_interval
from models.nets.checkpoint import Checkpoint
from models.planners.references.sort_gen import Preferences


def summarise(values: Mapping[str, Floats], preferences: Preferences, seed: int) -> list[dict[str, Any]]:
    """Summarise each planner from true outcomes [S, n, 3] by name, `RANDOM` and `BASELINE` among them.

    True outcomes per list, list value, its paired difference to the baseline as a share of the baseline's value,
    optimality where `OPTIMUM` is known. Checkpoints are pooled by their mean, and intervals are over requests;
    ``gains`` has each checkpoint's own.
    """
    worth = {name: preferences.step_value(outcome) for name, outcome in values.items()}
    base, floor = worth[BASELINE].mean(axis=0), worth[RANDOM].mean(axis=0)
    best = worth[OPTIMUM].mean(axis=0) if OPTIMUM in worth else None
    rows = []
    for name, outcome in values.items():
        pooled = worth[name].mean(axis=0)
        gain = paired_interval(pooled, base, seed=seed)
        row: dict[str, Any] = {"planner": name, "value": mean_interval(pooled, seed=seed).mean}
        row |= dict(zip(OBJECTIVES, outcome.mean(axis=(0, 1)).tolist(), strict=True))
        row |= {
            "gain": gain.mean / base.mean(),
            "gain_low": gain.low / base.mean(),
            "gain_high": gain.high / base.mean(),
            "gains": (worth[name].mean(axis=1) / base.mean() - 1).tolist(),
        }
        if best is not None:
            row["optimality"] = float((pooled - floor).mean() / (best - floor).mean())
        rows.append(row)
    return rows


def gain_ratios(
    values: Mapping[str, Floats], pairs: Sequence[tuple[str, str]], preferences: Preferences, seed: int
) -> list[dict[str, Any]]:
    """Divide each learnt search's gain over the baseline by the true-value search's.

    `pairs` are names of a learnt and a true row; a pair whose true search gains nothing has no ratio and is left out.
    """
    base = preferences.step_value(values[BASELINE]).mean(axis=0)
    rows = []
    for learnt, true in pairs:
        ours, theirs = (preferences.step_value(values[name]).mean(axis=0) - base for name in (learnt, true))
        if theirs.mean() <= 0:
            continue
        interval = ratio_interval(ours, theirs, seed=seed)
        rows.append({"planner": learnt, "against": true, **asdict(interval)})
    return rows


def value_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the figures of `summarise` as Markdown."""
    heads = ["planner", "list value", "vs formula sort (95% interval)", "optimality", "clicks", "conversions", "GMV"]
    cells = []
    for row in rows:
        optimality = f"{row['optimality']:.3f}" if "optimality" in row else "–"
        outcome = (f"{row['click']:.4f}", f"{row['conversion']:.4f}", f"{row['gmv']:.3f}")
        cells.append([row["planner"], f"{row['value']:.3f}", _gain(row), optimality, *outcome])
    return markdown_table(heads, cells)


def ratio_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the figures of `gain_ratios` as Markdown."""
    heads = ["planner", "its gain over that of the same search with true values (95% interval)"]
    return markdown_table(heads, [[r["planner"], f"{r['mean']:.0%} ({r['low']:.0%} to {r['high']:.0%})"] for r in rows])


def learning_curve_table(points: Mapping[int, Sequence[Mapping[str, Any]]], planners: Sequence[str]) -> str:
    """Lay out gains over the formula sort as Markdown by the number of training lists.

    `points` are rows of `summarise` for checkpoints trained on that many lists.
    """
    cells = []
    for lists, rows in sorted(points.items()):
        by_name = {row["planner"]: row for row in rows}
        cells.append([f"{lists:,}", *(_gain(by_name[name]) for name in planners)])
    return markdown_table(["training lists", *planners], cells, texts=0)


def _gain(row: Mapping[str, Any]) -> str:
    return f"{row['gain']:+.1%} ({row['gain_low']:+.1%} to {row['gain_high']:+.1%})"


def mmr_rows(
    checkpoint: Checkpoint,
    cases: Sequence[SimulatedCase],
    preferences: Preferences,
    trade_offs: Sequence[float],
    width: int,
) -> list[dict[str, float]]:
    """Measure per λ the changed lists against λ = 1, their true value and mean cosine."""
    served = ServedPlanner.of(checkpoint, cases[0].length, head_width=width)
    records = [case.record for case in cases]
    plain = served(records, replace(preferences, trade_off=1.0))

    def row(trade_off: float) -> dict[str, float]:
        lists = served(records, replace(preferences, trade_off=trade_off))
        changed = (lists != plain).mean(axis=1)
        return {
            "trade_off": trade_off,
            "lists_changed": float((changed > 0).mean()),
            "positions_changed": float(changed.mean()),
            "value": float(preferences.step_value(true_values(cases, lists)).mean()),
            "cosine": float(np.mean([_likeness(c, chosen) for c, chosen in zip(cases, lists, strict=True)])),
        }

    return [row(trade_off) for trade_off in (1.0, *trade_offs)]


def mmr_table(rows: Sequence[Mapping[str, float]]) -> str:
    """Lay out the figures of `mmr_rows` as Markdown."""
    formats = {"trade_off": "g", "lists_changed": ".1%", "positions_changed": ".1%", "value": ".3f", "cosine": ".3f"}
    heads = ["λ", "lists changed", "positions changed", "true list value", "mean pairwise cosine"]
    return markdown_table(heads, [[format(row[key], f) for key, f in formats.items()] for row in rows], texts=0)


def _likeness(case: SimulatedCase, chosen: Ints) -> float:
    """Mean cosine between the items of a list."""
    unit = unit_embeddings([case.record.candidates[i].embedding for i in chosen.tolist()]).astype(np.float64)
    return float((unit @ unit.T)[np.triu_indices(len(chosen), 1)].mean())
