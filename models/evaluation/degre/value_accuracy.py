"""Measure the accuracy of evaluators on the clicks of shown lists: DeGRe's Table 3.

Per evaluator R-AUC (eq. 15), PCOC and RMSE of the clicks of whole test lists, and the share of shown items whose
estimated increment of clicks is negative. The steps train the baselines on the evaluator's half of the lists and
measure all evaluators on the test lists.

Axis letters: n lists, T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.baselines.evaluators.training import (
    EVALUATOR_BASELINES,
    OutcomeFunction,
    load_evaluator_baseline,
    train_evaluator_baseline,
)
from models.contract.arrays import Floats, Ints
from models.data.batches import Batch, batches
from models.data.slates import SlateArrays
from models.evaluation.degre.judges import EVALUATOR
from models.evaluation.degre.value_steps import train_step
from models.evaluation.degre.workspace import DATA, Workspace, exposed_lists, value_step
from models.evaluation.steps import ExperimentStep
from models.evaluation.tables import markdown_table
from models.files import write_json
from models.planners.search.prefix import list_outcomes
from models.training.loop import STATE_FILE

Statistic = Callable[[Ints], float]
"""A measure of n lists, each counted as often as the weights [n] say; NaN where it is not defined."""

_BATCH: Final = 512
_LEVEL: Final = 0.95
MEASURES: Final = {
    "r_auc": "R-AUC ↑",
    "pcoc": "PCOC → 1",
    "rmse": "RMSE ↓",
    "negative_increments": "negative increments",
}

GROUP: Final = "accuracy"
ACCURACY_STEP: Final = "accuracy"
ACCURACY_FILE: Final = "accuracy.json"
VALUE_ROWS: Final = {
    "evaluator-concat-papers": "SORT, as in the papers",
    "evaluator-papers": "DeGRe-E, as in the papers",
    "evaluator-concat": "SORT, hazards",
    EVALUATOR: "DeGRe-E, hazards",
}
"""List value models of the table, all trained on the evaluator's half."""


@dataclass(frozen=True)
class Estimates:
    """Hold an evaluator's estimates of n lists and the clicks that they got.

    `predicted` and `clicks` [n] are of whole lists; `falling` [n] counts the items of negative increment among each
    list's `items` [n].
    """

    predicted: Floats
    clicks: Floats
    falling: Ints
    items: Ints


def accuracy_steps(space: Workspace) -> list[ExperimentStep]:
    """Make the steps that train the table's evaluators, and the one that measures them."""
    own = [train_step(space, name, GROUP) for name in VALUE_ROWS if name != EVALUATOR]
    return [*own, *(_baseline_step(space, name) for name in EVALUATOR_BASELINES), _measure_step(space)]


def _baseline_step(space: Workspace, name: str) -> ExperimentStep:
    config, options = space.profile.value_config(), space.profile.value_options(0)

    def run(folder: Path) -> Mapping[str, Any]:
        train, valid = (exposed_lists(space.data.half(split, 0)) for split in ("train", "valid"))
        data = (space.data.spec, train, valid)
        resume = (folder / STATE_FILE).exists()
        train_evaluator_baseline(name, *data, config, options, folder, space.device, resume=resume)
        return {"lists": len(train)}

    return ExperimentStep(_folder(name), GROUP, {**asdict(config), **asdict(options)}, run, needs=(DATA,))


def _measure_step(space: Workspace) -> ExperimentStep:
    def run(folder: Path) -> Mapping[str, Any]:
        folders = {name: space.root / _folder(name) for name in EVALUATOR_BASELINES}
        evaluators: dict[str, OutcomeFunction] = {
            name: load_evaluator_baseline(at, space.device).outcomes for name, at in folders.items()
        }
        evaluators |= {
            title: partial(list_outcomes, space.checkpoint(name).model) for name, title in VALUE_ROWS.items()
        }
        test = space.data.slates["test"]
        write_json(folder / ACCURACY_FILE, evaluator_accuracy(evaluators, test, seed=0, device=space.device))
        return {"lists": len(test)}

    needs = (*map(_folder, EVALUATOR_BASELINES), *map(value_step, VALUE_ROWS))
    return ExperimentStep(ACCURACY_STEP, GROUP, {}, run, needs)


def _folder(name: str) -> str:
    return f"evaluators/{name}"


def evaluator_accuracy(
    evaluators: Mapping[str, OutcomeFunction],
    test: SlateArrays,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    draws: int = 1000,
) -> dict[str, Any]:
    """Measure evaluators on test lists: ``{"lists", "level", "draws", "rows"}``, plain JSON types.

    There is one row per evaluator, in the order given. It holds ``evaluator`` and per measure ``{"value", "low",
    "high"}``, the percentile bootstrap over lists; all evaluators see the same resampled lists. A measure that the
    lists do not define is None. Lists without a shown item are left out. Raises `ValueError` if none is left.
    """
    kept = np.flatnonzero(test.lengths > 0)
    if not len(kept):
        raise ValueError("there are no test lists that show an item")
    weights = np.random.default_rng(seed).multinomial(len(kept), np.full(len(kept), 1 / len(kept)), size=draws)
    data = test.tensors(torch.device(device))
    rows = [_row(name, _estimate(outcomes, data, kept), weights) for name, outcomes in evaluators.items()]
    return {"lists": len(kept), "level": _LEVEL, "draws": draws, "rows": rows}


def accuracy_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the rows of `evaluator_accuracy` as Markdown, each measure with its interval."""
    cells = [[row["evaluator"], *(_cell(row[name]) for name in MEASURES)] for row in rows]
    return markdown_table(["evaluator", *MEASURES.values()], cells)


def _cell(measure: Mapping[str, float] | None) -> str:
    if measure is None:
        return "not defined"
    return f"{measure['value']:.4f} ({measure['low']:.4f} to {measure['high']:.4f})"


def _estimate(outcomes: OutcomeFunction, data: Batch, kept: Ints) -> Estimates:
    """Read the lists at `kept` in batches."""
    parts = (outcomes(batch, batch["exposed"][:, None])[:, 0, :, 0] for batch in batches(data, _BATCH, kept))
    along = np.concatenate([part.double().cpu().numpy() for part in parts])  # [n, T]
    lengths = data["lengths"].cpu().numpy()[kept]
    clicks = data["labels"][:, :, 0].sum(dim=1, dtype=torch.float64).cpu().numpy()[kept]
    shown = np.arange(along.shape[1]) < lengths[:, None]
    falling = (np.diff(along, axis=1, prepend=0.0) < 0) & shown
    return Estimates(along[np.arange(len(kept)), lengths - 1], clicks, falling.sum(axis=1), lengths)


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
    """Return the four measures as functions of list weights; weights of 1 give `models.judging.metrics`."""
    errors = np.square(found.predicted - found.clicks)
    return {
        "r_auc": _weighted_r_auc(found.predicted, found.clicks),
        "pcoc": lambda w: _ratio(w @ found.predicted, w @ found.clicks),
        "rmse": lambda w: float(np.sqrt(_ratio(w @ errors, w.sum()))),
        "negative_increments": lambda w: _ratio(w @ found.falling, w @ found.items),
    }


def _weighted_r_auc(predicted: Floats, truth: Floats) -> Statistic:
    """Compute `metrics.r_auc` of resampled lists without sorting again: O(n · different truths) a call.

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
