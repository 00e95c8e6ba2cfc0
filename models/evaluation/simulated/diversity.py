"""What MMR does to the lists that are served: how many it changes, and what less likeness costs in true value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.contract.features import unit_embeddings
from models.evaluation.planning import ServedPlanner
from models.evaluation.simulated.comparison import Case, true_values
from models.nets.checkpoint import Checkpoint
from models.planners.references.sort_gen import Preferences


def mmr_rows(
    checkpoint: Checkpoint, cases: Sequence[Case], preferences: Preferences, trade_offs: Sequence[float], width: int
) -> list[dict[str, float]]:
    """Per λ: how much of the lists MMR changes against λ = 1, their true value and mean pairwise cosine."""
    served = ServedPlanner.of(checkpoint, cases[0].length, head_width=width)
    records = [case.record for case in cases]
    plain: NDArray[np.int64] | None = None
    rows = []
    for trade_off in (1.0, *trade_offs):
        wish = Preferences(preferences.weights, preferences.units, trade_off, preferences.window)
        lists = served(records, wish)
        plain = lists if plain is None else plain
        changed = (lists != plain).mean(axis=1)
        rows.append(
            {
                "trade_off": trade_off,
                "lists_changed": float((changed > 0).mean()),
                "positions_changed": float(changed.mean()),
                "value": float(wish.step_value(true_values(cases, lists)).mean()),
                "cosine": float(np.mean([_likeness(c, chosen) for c, chosen in zip(cases, lists, strict=True)])),
            }
        )
    return rows


def mmr_table(rows: Sequence[Mapping[str, float]]) -> str:
    """Markdown: the figures of `mmr_rows`."""
    lines = [
        "| λ | lists changed | positions changed | true list value | mean pairwise cosine |",
        "|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['trade_off']:g} | {r['lists_changed']:.1%} | {r['positions_changed']:.1%} "
        f"| {r['value']:.3f} | {r['cosine']:.3f} |"
        for r in rows
    ]
    return "\n".join(lines)


def _likeness(case: Case, chosen: NDArray[np.int64]) -> float:
    """Mean cosine between the items of a list."""
    unit = unit_embeddings([case.record.candidates[i] for i in chosen.tolist()]).astype(np.float64)
    return float((unit @ unit.T)[np.triu_indices(len(chosen), 1)].mean())
