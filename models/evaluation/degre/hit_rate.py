"""Rank a list among all lists of its request: hit rates, optimality, order share.

Axis letters: R requests, K comparison lists of a request, L positions, N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.contract.arrays import AnyFloats, Bools, Floats, Ints
from models.judging.metrics import Interval, mean_interval, paired_interval

PERCENTS: Final = (1, 3, 10)
TOLERANCE: Final = 1e-6
"""Values closer than this are equal: the same list may be scored in batches of other shapes, and rounds otherwise."""


def random_lists(valid: Bools, rows: Sequence[int], length: int, count: int, *, seed: int) -> Ints:
    """Draw `count` lists per request uniformly from all ordered lists: [R, count, length], −1 past the end.

    `valid` bool [R, N] marks the candidates and `rows` names the requests: a request's lists depend on its row and the
    seed only, not on which others are drawn with it.
    """
    lists = np.empty((len(rows), count, length), np.int64)
    for drawn, kept, row in zip(lists, valid, rows, strict=True):
        keys = np.random.default_rng([seed, row]).random((count, len(kept)))
        keys[:, ~kept] = np.inf
        order = np.argsort(keys, axis=1)
        drawn[:, : order.shape[1]] = order[:, :length]
        drawn[:, int(kept.sum()) :] = -1
    return lists


def better(values: AnyFloats, comparison: AnyFloats) -> Ints:
    """Count each request's comparison values [R, K] above its list's [R]: Rank(l, S) of eq. 14.

    Strictly: lists of equal value (within `TOLERANCE`) are not better. `comparison` must be sorted along K.
    """
    bar = np.asarray(values, np.float64) + TOLERANCE
    below = [np.searchsorted(row, value, side="right") for row, value in zip(comparison, bar, strict=True)]
    ranks: Ints = comparison.shape[1] - np.array(below, np.int64)
    return ranks


def hits(values: AnyFloats, comparison: AnyFloats, percent: float) -> Bools:
    """Tell for each request whether its list ranks within the top `percent`% (eq. 14), [R]."""
    hit: Bools = better(values, comparison) * 100 < percent * comparison.shape[1]
    return hit


def hit_rate(seeds: Sequence[AnyFloats], comparison: AnyFloats, percent: float, *, seed: int) -> Interval:
    """Take HR@percent% of `seeds`, the values [R] of one planner's runs, with its bootstrap interval.

    A request counts with the share of the runs that hit, so the interval is one over requests alone.
    """
    return mean_interval(hit_share(seeds, comparison, percent), seed=seed)


def hit_share(seeds: Sequence[AnyFloats], comparison: AnyFloats, percent: float) -> Floats:
    """Take the share of a planner's runs that hit, per request [R]. Raises `ValueError` without runs."""
    if not seeds:
        raise ValueError("there are no runs to take a hit rate of")
    share: Floats = np.mean([hits(values, comparison, percent) for values in seeds], axis=0)
    return share


def hit_difference(
    ours: Sequence[AnyFloats], theirs: Sequence[AnyFloats], comparison: AnyFloats, percent: float, *, seed: int
) -> Interval:
    """Subtract one planner's HR from another's on the same requests, with the paired bootstrap interval."""
    pair = (hit_share(runs, comparison, percent) for runs in (ours, theirs))
    return paired_interval(*pair, seed=seed)


def optimality(values: AnyFloats, mean: AnyFloats, best: AnyFloats) -> Floats:
    """Scale values per request [R] as (V − V̄) / (V* − V̄).

    0 is a random list, 1 the best; 1 also where all lists are equal.
    """
    span = np.asarray(best, np.float64) - mean
    flat = span <= TOLERANCE
    share: Floats = np.where(flat, 1.0, (values - mean) / np.where(flat, 1.0, span))
    return share


def order_share(within: AnyFloats, spread: AnyFloats) -> float | None:
    """Divide a judge's variance over permutations of one set by its variance over all lists.

    `within` [R, S, P] holds the values of P random permutations of each of S random sets, `spread` [R, K] those of
    random lists. Both variances are averaged over requests before they are divided. None if all lists are equal.
    """
    total = float(np.var(spread, axis=1, ddof=1, dtype=np.float64).mean())
    if total <= TOLERANCE**2:
        return None
    return float(np.var(within, axis=2, ddof=1, dtype=np.float64).mean()) / total


def permutations_of(lists: Ints, rows: Sequence[int], orders: int, *, seed: int) -> Ints:
    """Permute each request's list [R, L] at random: [R, orders, L], −1 behind the end as before."""
    permuted = np.empty((len(lists), orders, lists.shape[1]), np.int64)
    for drawn, one, row in zip(permuted, lists, rows, strict=True):
        keys = np.random.default_rng([seed, row, 2]).random(drawn.shape)
        keys[:, one < 0] = np.inf
        drawn[:] = one[np.argsort(keys, axis=1)]
    return permuted


def permuted_sets(valid: Bools, rows: Sequence[int], length: int, *, sets: int, orders: int, seed: int) -> Ints:
    """Permute each of `sets` random sets of a request `orders` times, [R, sets, orders, length]."""
    chosen = random_lists(valid, rows, length, sets, seed=seed)
    permuted = np.empty((len(rows), sets, orders, length), np.int64)
    for drawn, lists, row in zip(permuted, chosen, rows, strict=True):
        filled = int((lists[0] >= 0).sum())
        keys = np.random.default_rng([seed, row, 1]).random((sets, orders, length))
        keys[:, :, filled:] = np.inf
        drawn[:] = np.take_along_axis(lists[:, None], np.argsort(keys, axis=2), axis=2)
    return permuted
