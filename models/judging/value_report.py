"""Report expected against true counts of a value model: the figures of ``metrics.json``.

They are per objective and prefix length, on lists whose outcome is known. They do not tell how good the orders are that
a planner finds under the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.contract.arrays import AnyFloats, Bools
from models.contract.spec import OBJECTIVES
from models.data.batches import ListArrays, batches
from models.judging import metrics
from models.nets.value import COUNTED, ListValueModel


def mean_per_slot(data: ListArrays) -> tuple[dict[str, float], list[str]]:
    """Compute s_o, the mean outcome of an exposed slot, and name objectives without any.

    Outcomes are events, or currency for gmv. It is the observed mean rather than the model's: a calibrated model's
    increments average to it, and it does not depend on a checkpoint. An objective that is not recorded, or never
    happens, has unit 1 and is named.
    """
    units, without = {}, []
    for o, name in enumerate(OBJECTIVES):
        slots = data.filled & data.observed[:, o, None]
        total = float(data.labels[slots, o].sum(dtype=np.float64))
        units[name] = total / int(slots.sum()) if total > 0 else 1.0
        if total == 0:
            without.append(name)
    return units, without


def predict(model: ListValueModel, data: ListArrays, device: torch.device) -> AnyFloats:
    """Predict the cumulative outcome after each position, [n, L, 3] (gmv: currency)."""
    was_training = model.training
    model.eval()
    outcomes = []
    with torch.inference_mode():
        for batch in batches(data.tensors(device)):
            outcomes.append(model.increments(batch).cumsum(dim=1).cpu().numpy())
    model.train(was_training)
    return np.concatenate(outcomes)


def value_report(model: ListValueModel, data: ListArrays, device: torch.device) -> dict[str, Any]:
    """Report the figures per objective, of whole lists and of prefixes.

    ``list`` takes each list at its own length, ``prefix`` every length that some list reaches. Each row has ``lists``,
    ``r_auc``, ``pcoc``, ``rmse``, and prefixes of the counted objectives also ``auc``, of an event at that place by the
    gain there, None where only one class occurs. An objective that no list records is None.

    ``negative_increments`` is the share of exposed items that the model values below 0: never with hazards; the papers'
    thresholds of neighbouring positions are estimated independently, so noise makes some.
    """
    outcomes = predict(model, data, device)
    truth = data.labels.cumsum(axis=1, dtype=np.float64)
    report: dict[str, Any] = {"lists": len(data)}
    for o, name in enumerate(OBJECTIVES):
        known = data.observed[:, o] & (data.lengths > 0)
        if not known.any():
            report[name] = None
            continue
        # A list's own outcome stands at its last position.
        last = data.lengths[known] - 1
        rows = np.arange(len(last))
        report[name] = {
            "list": _row(outcomes[known, :, o][rows, last], truth[known, :, o][rows, last]),
            "prefix": [
                _prefix(j, known & (data.lengths > j), o, outcomes, truth)
                for j in range(int(data.lengths[known].max()))
            ],
        }
        if o < len(COUNTED):
            steps = np.diff(outcomes[:, :, o], axis=1, prepend=0.0)[data.filled & known[:, None]]
            report[name]["negative_increments"] = float((steps < 0).mean())
    return report


def _prefix(j: int, chosen: Bools, o: int, outcomes: AnyFloats, truth: AnyFloats) -> dict[str, Any]:
    row: dict[str, Any] = {"length": j + 1, **_row(outcomes[chosen, j, o], truth[chosen, j, o])}
    if o < len(COUNTED):
        gains, events = (np.diff(x[chosen, : j + 1, o], axis=1, prepend=0.0)[:, -1] for x in (outcomes, truth))
        row["auc"] = metrics.auc(gains, events > 0)
    return row


def _row(predicted: AnyFloats, truth: AnyFloats) -> dict[str, Any]:
    return {
        "lists": len(truth),
        "r_auc": metrics.r_auc(predicted, truth),
        "pcoc": metrics.pcoc(predicted, truth),
        "rmse": metrics.rmse(predicted, truth),
    }
