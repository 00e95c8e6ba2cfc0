"""How good is a list among all lists of its request? Ranks, hit rates, optimality, order share.

Plain functions of values that a judge gave; they know nothing about judges, models or files.

Axis letters: R requests, K comparison lists of a request, L positions, N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.judging.metrics import Interval, mean_interval, paired_interval

Floats = NDArray[np.floating]
Lists = NDArray[np.int64]

PERCENTS: Final = (1, 3, 10)
TOLERANCE: Final = 1e-6
"""Values closer than this are equal: the same list may be scored in batches of other shapes, and rounds otherwise."""


def random_lists(valid: NDArray[np.bool_], rows: Sequence[int], length: int, count: int, *, seed: int) -> Lists:
    """`count` lists per request, each drawn uniformly from all ordered lists: [R, count, length], −1 past the end.

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


def better(values: Floats, comparison: Floats) -> NDArray[np.int64]:
    """Rank(l, S) of eq. 14: how many of a request's comparison values [R, K] exceed the list's [R], for each, [R].

    Strictly: lists of equal value (within `TOLERANCE`) are not better. `comparison` must be sorted along K.
    """
    bar = np.asarray(values, np.float64) + TOLERANCE
    below = [np.searchsorted(row, value, side="right") for row, value in zip(comparison, bar, strict=True)]
    ranks: NDArray[np.int64] = comparison.shape[1] - np.array(below, np.int64)
    return ranks


def hits(values: Floats, comparison: Floats, percent: float) -> NDArray[np.bool_]:
    """Whether each request's list ranks within the top `percent`% of its comparison lists (eq. 14), [R]."""
    hit: NDArray[np.bool_] = better(values, comparison) * 100 < percent * comparison.shape[1]
    return hit


def hit_rate(seeds: Sequence[Floats], comparison: Floats, percent: float, *, seed: int) -> Interval:
    """HR@percent% with its bootstrap interval over requests; `seeds` holds the values [R] of one planner's runs.

    A request counts with the share of the runs that hit, so the interval is one over requests alone.
    """
    return mean_interval(hit_share(seeds, comparison, percent), seed=seed)


def hit_share(seeds: Sequence[Floats], comparison: Floats, percent: float) -> NDArray[np.float64]:
    """The share of a planner's runs that hit, per request [R]. Raises `ValueError` if there are no runs."""
    if not seeds:
        raise ValueError("there are no runs to take a hit rate of")
    share: NDArray[np.float64] = np.mean([hits(values, comparison, percent) for values in seeds], axis=0)
    return share


def hit_difference(
    ours: Sequence[Floats], theirs: Sequence[Floats], comparison: Floats, percent: float, *, seed: int
) -> Interval:
    """HR of one planner less that of another on the same requests, with the paired bootstrap interval."""
    pair = (hit_share(runs, comparison, percent) for runs in (ours, theirs))
    return paired_interval(*pair, seed=seed)


def optimality(values: Floats, mean: Floats, best: Floats) -> NDArray[np.float64]:
    """(V − V̄) / (V* − V̄) per request [R]: 0 is what a random list reaches, 1 the best. 1 where all lists are equal."""
    span = np.asarray(best, np.float64) - mean
    flat = span <= TOLERANCE
    share: NDArray[np.float64] = np.where(flat, 1.0, (values - mean) / np.where(flat, 1.0, span))
    return share


def order_share(within: Floats, spread: Floats) -> float | None:
    """The part of a judge's variance that is order: variance over permutations of one set, over that of all lists.

    `within` [R, S, P] holds the values of P random permutations of each of S random sets, `spread` [R, K] those of
    random lists. Both variances are averaged over requests before they are divided. None if all lists are equal.
    """
    total = float(np.var(spread, axis=1, ddof=1, dtype=np.float64).mean())
    if total <= TOLERANCE**2:
        return None
    return float(np.var(within, axis=2, ddof=1, dtype=np.float64).mean()) / total


def permutations_of(lists: Lists, rows: Sequence[int], orders: int, *, seed: int) -> Lists:
    """`orders` random permutations of each request's list [R, L]: [R, orders, L], −1 behind the end as before."""
    permuted = np.empty((len(lists), orders, lists.shape[1]), np.int64)
    for drawn, one, row in zip(permuted, lists, rows, strict=True):
        keys = np.random.default_rng([seed, row, 2]).random(drawn.shape)
        keys[:, one < 0] = np.inf
        drawn[:] = one[np.argsort(keys, axis=1)]
    return permuted


def permuted_sets(
    valid: NDArray[np.bool_], rows: Sequence[int], length: int, *, sets: int, orders: int, seed: int
) -> Lists:
    """`orders` random permutations of each of `sets` random sets of a request, [R, sets, orders, length]."""
    chosen = random_lists(valid, rows, length, sets, seed=seed)
    permuted = np.empty((len(rows), sets, orders, length), np.int64)
    for drawn, lists, row in zip(permuted, chosen, rows, strict=True):
        filled = int((lists[0] >= 0).sum())
        keys = np.random.default_rng([seed, row, 1]).random((sets, orders, length))
        keys[:, :, filled:] = np.inf
        drawn[:] = np.take_along_axis(lists[:, None], np.argsort(keys, axis=2), axis=2)
    return permuted
