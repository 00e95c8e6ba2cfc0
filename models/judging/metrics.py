"""Measure predictions and orders: AUC, R-AUC, PCOC, RMSE, NDCG, bootstrap intervals.

A measure that is not defined on the data (one class only, a division by 0) is None, never a made-up number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import bootstrap, kendalltau
from sklearn.metrics import roc_auc_score

from models.contract.arrays import AnyFloats, Bools, Floats


@dataclass(frozen=True, slots=True)
class Interval:
    """Hold a mean over `lists` lists with its bootstrap interval."""

    mean: float
    low: float
    high: float
    lists: int


def auc(scores: AnyFloats, positive: Bools) -> float | None:
    """Compute the area under the ROC curve; None unless both classes occur."""
    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, scores))


def r_auc(predicted: AnyFloats, truth: AnyFloats) -> float | None:
    """Compute the share of pairs of unequal truth in the right order (DeGRe, eq. 15).

    Equal predictions are wrong. O(n log n): Kendall's τ_b gives concordant minus discordant pairs, the counts of ties
    give their sum. None if all truths are equal.
    """
    pairs = len(truth) * (len(truth) - 1) // 2
    unequal_truths = pairs - _tied_pairs(truth)
    if unequal_truths == 0:
        return None
    unequal_predictions = pairs - _tied_pairs(predicted)
    if unequal_predictions == 0:
        return 0.0
    tied_in_both = _tied_pairs(np.stack([predicted, truth], axis=1))
    decided = unequal_truths + unequal_predictions - pairs + tied_in_both
    tau = float(kendalltau(predicted, truth).statistic)
    difference = round(tau * float(np.sqrt(unequal_predictions) * np.sqrt(unequal_truths)))
    return (decided + difference) / 2 / unequal_truths


def _tied_pairs(values: AnyFloats) -> int:
    counts = np.unique(values, axis=0, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def pcoc(predicted: AnyFloats, truth: AnyFloats) -> float | None:
    """Divide the predicted by the true mean (DeGRe §5.1); None if nothing happened."""
    total = float(np.sum(truth, dtype=np.float64))
    return None if total == 0 else float(np.sum(predicted, dtype=np.float64)) / total


def rmse(predicted: AnyFloats, truth: AnyFloats) -> float:
    return float(np.sqrt(np.mean(np.square(predicted.astype(np.float64) - truth))))


def discounts(places: int) -> Floats:
    """Compute NDCG's weight of each place, 1/log2(rank + 1), [places]."""
    weights: Floats = 1 / np.log2(np.arange(2, places + 2))
    return weights


def ndcg(gains: AnyFloats, k: int) -> float | None:
    """Compute NDCG@k of one list from `gains` [n] in the order shown.

    Gains are discounted by 1/log2(rank + 1) and divided by those of their best order. They may be clicks, purchases or
    currency. None if every gain is 0: such a list says nothing about order.
    """
    weights = discounts(min(k, len(gains)))
    ideal = float(np.sort(gains)[::-1][:k] @ weights)
    return None if ideal == 0 else float(gains[:k] @ weights) / ideal


def mean_interval(values: AnyFloats, *, seed: int, level: float = 0.95, draws: int = 2000) -> Interval:
    """Average one value per list, with the bootstrap interval. Raises `ValueError` without lists."""
    return bootstrap_interval((np.asarray(values, np.float64),), np.mean, seed=seed, level=level, draws=draws)


def bootstrap_interval(
    samples: tuple[AnyFloats, ...], statistic: Callable[..., Any], *, seed: int, level: float, draws: int
) -> Interval:
    """Compute a statistic of paired arrays [lists] with its bootstrap interval.

    It is the percentile interval. `statistic` takes the arrays and an axis. Raises `ValueError` if there are no lists.
    """
    count = len(samples[0])
    if count == 0:
        raise ValueError("there are no lists to take a mean over")
    found = float(statistic(*samples))
    if count == 1:
        return Interval(found, found, found, 1)
    result = bootstrap(
        samples,
        statistic,
        paired=len(samples) > 1,
        vectorized=True,
        n_resamples=draws,
        batch=max(1, 4_000_000 // count),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return Interval(found, float(low), float(high), count)


def ratio_interval(above: AnyFloats, below: AnyFloats, *, seed: int) -> Interval:
    """Divide Σ `above` by Σ `below` over the same lists, with the 95% bootstrap interval.

    Raises `ValueError` if there are no lists.
    """

    def ratio(a: AnyFloats, b: AnyFloats, axis: int = -1) -> Any:
        return a.sum(axis=axis) / b.sum(axis=axis)

    return bootstrap_interval((above, below), ratio, seed=seed, level=0.95, draws=2000)


def paired_interval(
    ours: AnyFloats, theirs: AnyFloats, *, seed: int, level: float = 0.95, draws: int = 2000
) -> Interval:
    """Average ours − theirs on the same lists, as `mean_interval` does."""
    if len(ours) != len(theirs):
        raise ValueError(f"cannot pair {len(ours)} lists with {len(theirs)}")
    return mean_interval(np.asarray(ours, np.float64) - theirs, seed=seed, level=level, draws=draws)
