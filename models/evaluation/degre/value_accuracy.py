"""How well evaluators say what shown lists were worth: the form of DeGRe's Table 3, with intervals.

Per evaluator R-AUC (eq. 15), PCOC and RMSE of the clicks of whole test lists, and the share of shown items whose
estimated increment of clicks is negative. It sees estimates and labels; it knows nothing about how evaluators are
trained, nor about planners.

Axis letters: n lists, T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.baselines.evaluators import EvaluatorLike
from models.data.batches import ListArrays, batches
from models.data.slates import SlateArrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Statistic = Callable[[Ints], float]
"""A measure of n lists, each counted as often as the weights [n] say; NaN where it is not defined."""

_BATCH: Final = 512
_LEVEL: Final = 0.95
MEASURES: Final = ("r_auc", "pcoc", "rmse", "negative_increments")


@dataclass(frozen=True)
class Estimates:
    """What an evaluator expects of n lists and what came of them.

    `predicted` and `clicks` [n] are of whole lists; `falling` [n] counts the items of negative increment among each
    list's `items` [n].
    """

    predicted: Floats
    clicks: Floats
    falling: Ints
    items: Ints


def evaluator_accuracy(
    evaluators: Mapping[str, EvaluatorLike],
    test: ListArrays | SlateArrays,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    draws: int = 1000,
) -> dict[str, Any]:
    """``{"lists", "level", "draws", "rows"}``, one row per evaluator in the order given; plain JSON types.

    A row holds ``evaluator`` and per measure ``{"value", "low", "high"}``, the percentile bootstrap over lists; all
    evaluators see the same resampled lists. A measure that the lists do not define is None. Lists without a shown item
    are left out. Raises `ValueError` if none is left.
    """
    kept = np.flatnonzero(test.lengths > 0)
    if not len(kept):
        raise ValueError("there are no test lists that show an item")
    weights = np.random.default_rng(seed).multinomial(len(kept), np.full(len(kept), 1 / len(kept)), size=draws)
    data = _as_slates(test, torch.device(device))
    rows = [_row(name, _estimate(evaluator, data, kept), weights) for name, evaluator in evaluators.items()]
    return {"lists": len(kept), "level": _LEVEL, "draws": draws, "rows": rows}


def accuracy_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `evaluator_accuracy` as Markdown, each measure with its interval."""
    lines = [
        "| evaluator | R-AUC ↑ | PCOC → 1 | RMSE ↓ | negative increments |",
        "|---|---|---|---|---|",
        *(f"| {row['evaluator']} | " + " | ".join(_cell(row[name]) for name in MEASURES) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _cell(measure: Mapping[str, float] | None) -> str:
    if measure is None:
        return "not defined"
    return f"{measure['value']:.4f} ({measure['low']:.4f} to {measure['high']:.4f})"


def _as_slates(test: ListArrays | SlateArrays, device: torch.device) -> dict[str, Tensor]:
    """Tensors with ``exposed`` [n, T] and ``valid``; of lists alone, the candidates are the items shown."""
    data = test.tensors(device)
    if isinstance(test, ListArrays):
        places = torch.arange(test.labels.shape[1], device=device)
        shown = torch.from_numpy(test.filled).to(device)
        data |= {"exposed": torch.where(shown, places, -1), "valid": shown}
    return data


def _estimate(evaluator: EvaluatorLike, data: dict[str, Tensor], kept: Ints) -> Estimates:
    """Read the lists at `kept` in batches."""
    along = np.concatenate(list(_cumulative_clicks(evaluator, data, kept)))  # [n, T]
    lengths = data["lengths"].cpu().numpy()[kept]
    clicks = data["labels"][:, :, 0].sum(dim=1, dtype=torch.float64).cpu().numpy()[kept]
    shown = np.arange(along.shape[1]) < lengths[:, None]
    falling = (np.diff(along, axis=1, prepend=0.0) < 0) & shown
    return Estimates(along[np.arange(len(kept)), lengths - 1], clicks, falling.sum(axis=1), lengths)


def _cumulative_clicks(evaluator: EvaluatorLike, data: dict[str, Tensor], kept: Ints) -> Iterator[Floats]:
    for batch in batches(data, _BATCH, kept):
        outcomes = evaluator.outcomes(batch, batch["exposed"][:, None])
        yield outcomes[:, 0, :, 0].double().cpu().numpy()


def _row(name: str, found: Estimates, weights: Ints) -> dict[str, Any]:
    ones = np.ones(len(found.clicks), np.int64)
    row: dict[str, Any] = {"evaluator": name}
    for measure, statistic in statistics(found).items():
        value = statistic(ones)
        row[measure] = None if np.isnan(value) else _interval(value, statistic, weights)
    return row


def _interval(value: float, statistic: Statistic, weights: Ints) -> dict[str, float]:
    drawn = np.array([statistic(w) for w in weights])
    low, high = np.nanquantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return {"value": value, "low": float(low), "high": float(high)}


def statistics(found: Estimates) -> dict[str, Statistic]:
    """The four measures as functions of how often each list is counted; all weights 1 give `models.judging.metrics`."""
    errors = np.square(found.predicted - found.clicks)
    return {
        "r_auc": _weighted_r_auc(found.predicted, found.clicks),
        "pcoc": lambda w: _ratio(w @ found.predicted, w @ found.clicks),
        "rmse": lambda w: float(np.sqrt(_ratio(w @ errors, w.sum()))),
        "negative_increments": lambda w: _ratio(w @ found.falling, w @ found.items),
    }


def _weighted_r_auc(predicted: Floats, truth: Floats) -> Statistic:
    """`metrics.r_auc` of resampled lists without sorting again: O(n · different truths) a call.

    Equal predictions share a rank, and each list is compared with those of lower rank and lower truth.
    """
    order = np.argsort(predicted, kind="stable")
    ties = np.searchsorted(predicted[order], predicted[order])  # where the ties of each list begin
    levels, level = np.unique(truth[order], return_inverse=True)
    places = np.arange(1, len(order) + 1)

    def statistic(weights: Ints) -> float:
        w = weights[order].astype(np.float64)
        mass = np.zeros((len(order) + 1, len(levels) + 1))
        mass[places, level + 1] = w
        mass = mass.cumsum(axis=0).cumsum(axis=1)  # [i, y]: weight of the first i lists whose truth is below level y
        return _ratio(float(w @ mass[ties, level]), float(w @ mass[-1, level]))

    return statistic


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else float("nan")
