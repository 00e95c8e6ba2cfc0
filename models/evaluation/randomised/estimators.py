"""Estimate the earnings of another order from lists that were shown in random order.

Where n items stand in a uniformly random order, an item stands at a given place in 1 of n lists, and two items at two
places in 1 of n·(n−1). Counting only where the shown list agrees with an order that one would rather have shown, and
weighing what counts by the inverse of that chance, gives that order's value. Real logs are not quite uniform: Expedia's
random lists hold items without data further down, and no list without a click is in the file. So the chances are
multiplied by how often items of each fifth of the click score stand at each place, against how often they would if all
orders were alike (`strata`).

Three versions, all self-normalised (divided by the sum of the weights, which takes most of their variance out):

* *item and place*: a place counts where the same item stands there. It takes what an item earns at a place to be the
  same whatever stands around it, on average over random lists: what an order gains through context is not in it.
* *item and the one before*: a place counts where the same item stands there and the same one just before it. Of the
  context only what the neighbour does is in it.
* *cascade*: a place counts where all places up to it agree. It takes what stands behind a place to be of no matter, and
  nothing else, but agreement on more than two or three places is rare.

Axis letters: n lists, k places, O outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from models.contract.arrays import Bools, Floats, Ints
from models.judging.metrics import Interval

PLAN: Final = "plan"
SORT: Final = "sort"
ITEM: Final = "item and place"
PAIR: Final = "item and the one before"
CASCADE: Final = "cascade"
STRATA: Final = 5
FEWEST: Final = 100
"""Agreements that an estimate needs: with fewer its intervals hold the truth less often than they say."""

Totals = Mapping[str, Any]
"""Name of a column to its sum over lists: a number, or one per resample [draws]."""

Estimate = Callable[[Totals], Any]
"""An estimate as a function of sums. It must be made of operations that work on arrays as well."""

DRAWS: Final = 2000
_CELLS: Final = 8_000_000
"""How many draws of a list are held at once."""


@dataclass(frozen=True)
class Shown:
    """Hold lists that were shown in random order, with their outcomes.

    `sizes` [n] says how many items a list has, and `outcomes` [n, k, O] what came of its first k places, 0 past its
    end; `strata` [n, k] in which of `STRATA` parts of the list by the click score the item there is, best first, −1
    past the end. `agreement` bool [n, k] says, for each order one would rather have shown, where the same item stands.
    """

    sizes: Ints
    strata: Ints
    outcomes: Floats
    agreement: Mapping[str, Bools]

    @property
    def places(self) -> Ints:
        """Count the filled places of each list among the k, [n]."""
        return np.minimum(self.sizes, self.outcomes.shape[1])

    def likelihood(self) -> Floats:
        """Divide the chance of each place's item by that in a uniformly random order, [n, k].

        The same for all items of a stratum at a place; 1 past the end of a list.
        """
        there = self.strata >= 0
        expected = stratum_counts(self.sizes) / self.sizes[:, None]
        result = np.ones(self.strata.shape)
        for stratum in range(STRATA):
            here = self.strata == stratum
            ratio = here.sum(axis=0) / np.maximum((expected[:, stratum, None] * there).sum(axis=0), 1e-9)
            result = np.where(here, ratio, result)
        return result


def strata_of(ranks: Ints, sizes: Ints) -> Ints:
    """Assign items by the ranks of their click scores to strata; arrays broadcast."""
    strata: Ints = ranks * STRATA // sizes
    return strata


def stratum_counts(sizes: Ints) -> Ints:
    """Count the items of a list in each stratum, [n, STRATA]."""
    edges = -(-np.arange(STRATA + 1) * sizes[:, None] // STRATA)
    counts: Ints = np.diff(edges, axis=1)
    return counts


def compare_orders(
    shown: Shown, names: Sequence[str], depths: Sequence[int], *, seed: int, draws: int = DRAWS
) -> list[dict[str, Any]]:
    """Estimate the value of plan, sort and difference for each outcome in `names` [O].

    ``weights`` are their sums over the places they stand for: 1 if the chances of agreement are as assumed.
    ``difference`` and the values are intervals over lists, or None where an order agrees with the shown one fewer than
    `FEWEST` times. `depths` are the numbers of first places that the cascade estimates.
    """
    resampled = Resampled(dict(_columns(shown, names, max(depths))), seed=seed, draws=draws)
    rows = [_row(resampled, kind, shown.outcomes.shape[1], names) for kind in (ITEM, PAIR)]
    return rows + [_row(resampled, CASCADE, depth, names) for depth in depths]


def _columns(shown: Shown, names: Sequence[str], depth: int) -> Iterator[tuple[str, Floats]]:
    """Sum agreements, weights and weighted outcomes per order and estimator, of which estimates are made."""
    yield "lists", np.ones(len(shown.sizes))
    yield "places", shown.places.astype(np.float64)
    for j in range(depth):
        yield f"reach/{j}", (shown.sizes > j).astype(np.float64)
    for order, agrees in shown.agreement.items():
        for kind, weights in _place_weights(shown, agrees).items():
            yield f"{order}/{kind}/hits", (weights > 0).sum(axis=1).astype(np.float64)
            yield f"{order}/{kind}/weight", weights.sum(axis=1)
            for o, name in enumerate(names):
                yield f"{order}/{kind}/{name}", (weights * shown.outcomes[:, :, o]).sum(axis=1)
        for j, weight in enumerate(_cascade_weights(shown, agrees, depth).T):
            yield f"{order}/{j}/hits", (weight > 0).astype(np.float64)
            yield f"{order}/{j}/weight", weight
            for o, name in enumerate(names):
                yield f"{order}/{j}/{name}", weight * shown.outcomes[:, j, o]


def _place_weights(shown: Shown, agrees: Bools) -> dict[str, Floats]:
    """Compute the inverse chance of each agreement, [n, k], 0 where there is none."""
    n, likelihood = shown.sizes[:, None].astype(np.float64), shown.likelihood()
    alone = n / likelihood * agrees
    both = agrees[:, 1:] & agrees[:, :-1]
    behind = n * (n - 1) / (likelihood[:, 1:] * likelihood[:, :-1]) * both
    return {ITEM: alone, PAIR: np.concatenate([alone[:, :1], behind], axis=1)}


def _cascade_weights(shown: Shown, agrees: Bools, depth: int) -> Floats:
    """Compute the inverse chance that all places so far agree, [n, depth], 0 where they do not."""
    left = np.maximum(shown.sizes[:, None] - np.arange(depth), 1)
    chances = np.cumprod(left / shown.likelihood()[:, :depth], axis=1)
    weights: Floats = chances * np.logical_and.accumulate(agrees[:, :depth], axis=1)
    return weights


def _row(resampled: Resampled, kind: str, places: int, names: Sequence[str]) -> dict[str, Any]:
    # Of a cascade the agreements at its last place count, the rarest.
    which = places - 1 if kind == CASCADE else kind
    hits = {order: int(resampled.total(f"{order}/{which}/hits")) for order in (PLAN, SORT)}
    known = min(hits.values()) >= FEWEST
    reached = resampled.total(f"reach/{which}" if kind == CASCADE else "places")
    weights = {order: resampled.total(f"{order}/{which}/weight") / reached for order in (PLAN, SORT)}
    row: dict[str, Any] = {"estimator": kind, "places": places, "agreements": hits, "weights": weights, "outcomes": {}}
    for name in names:
        values = {order: _value(kind, places, order, name) for order in (PLAN, SORT)}
        estimates: dict[str, Estimate] = {**values, "difference": _difference(values[PLAN], values[SORT])}
        row["outcomes"][name] = {
            which: asdict(resampled.interval(estimate)) if known else None for which, estimate in estimates.items()
        }
    return row


def _value(kind: str, places: int, order: str, name: str) -> Estimate:
    """Estimate the value of an order per list."""
    if kind != CASCADE:
        # The weights of all places are summed: a place alone would rest on few agreements.
        return lambda t: t[f"{order}/{kind}/{name}"] / _positive(t[f"{order}/{kind}/weight"]) * t["places"] / t["lists"]
    return lambda t: sum(
        t[f"{order}/{j}/{name}"] / _positive(t[f"{order}/{j}/weight"]) * t[f"reach/{j}"] / t["lists"]
        for j in range(places)
    )


def _difference(plan: Estimate, sort: Estimate) -> Estimate:
    return lambda t: plan(t) - sort(t)


def _positive(weights: Any) -> Any:
    """Replace sums of no agreement by 1; their estimate is 0, as its numerator is."""
    return np.where(weights > 0, weights, 1.0)


class Resampled:
    """Sum columns over all lists, and over each of `draws` resamples of the lists."""

    def __init__(self, columns: Mapping[str, Floats], *, seed: int, draws: int = DRAWS) -> None:
        """Resample `columns`, arrays [lists] of one length. Raises `ValueError` if there are no lists."""
        table = np.column_stack(list(columns.values()))
        self.lists = len(table)
        if not self.lists:
            raise ValueError("there are no lists to take a mean over")
        self._all: Totals = dict(zip(columns, table.sum(axis=0).tolist(), strict=True))
        drawn = _resampled(table, np.random.default_rng(seed), draws)
        self._drawn: Totals = dict(zip(columns, drawn.T, strict=True))

    def total(self, name: str) -> float:
        """Return the sum of a column over all lists."""
        return float(self._all[name])

    def interval(self, estimate: Estimate, *, level: float = 0.95) -> Interval:
        """Estimate with a percentile interval."""
        tail = (1 - level) / 2
        low, high = np.quantile(estimate(self._drawn), [tail, 1 - tail])
        return Interval(float(estimate(self._all)), float(low), float(high), self.lists)


def _resampled(table: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Sum the columns of resampled rows, [draws, columns]."""
    lists = len(table)
    at_once = max(1, _CELLS // lists)
    parts = []
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        chosen = rng.integers(lists, size=(rows, lists)) + np.arange(rows)[:, None] * lists
        counts = np.bincount(chosen.ravel(), minlength=rows * lists).reshape(rows, lists)
        parts.append(counts @ table)
    return np.concatenate(parts)
