"""What MMR does to the lists that are served: how many it changes, and what less likeness costs in true value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.contract.arrays import Ints
from models.contract.features import unit_embeddings
from models.evaluation.planning import ServedPlanner
from models.evaluation.simulated.comparison import SimulatedCase, true_values
from models.evaluation.tables import markdown_table
from models.nets.checkpoint import Checkpoint
from models.planners.references.sort_gen import Preferences


def mmr_rows(
    checkpoint: Checkpoint,
    cases: Sequence[SimulatedCase],
    preferences: Preferences,
    trade_offs: Sequence[float],
    width: int,
) -> list[dict[str, float]]:
    """Per λ: how much of the lists MMR changes against λ = 1, their true value and mean pairwise cosine."""
    served = ServedPlanner.of(checkpoint, cases[0].length, head_width=width)
    records = [case.record for case in cases]
    plain: Ints | None = None
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
    """Lay out the figures of `mmr_rows` as Markdown."""
    formats = {"trade_off": "g", "lists_changed": ".1%", "positions_changed": ".1%", "value": ".3f", "cosine": ".3f"}
    heads = ["λ", "lists changed", "positions changed", "true list value", "mean pairwise cosine"]
    return markdown_table(heads, [[format(row[key], f) for key, f in formats.items()] for row in rows], texts=0)


def _likeness(case: SimulatedCase, chosen: Ints) -> float:
    """Mean cosine between the items of a list."""
    unit = unit_embeddings([case.record.candidates[i] for i in chosen.tolist()]).astype(np.float64)
    return float((unit @ unit.T)[np.triu_indices(len(chosen), 1)].mean())
