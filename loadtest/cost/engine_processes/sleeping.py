"""Stand for a GPU: sleep for the same time in each run, whatever its size.

Lists are made by a rule that clients know, so that they can tell whose an answer is.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from models.contract.arrays import AnyArray, Arrays, Ints
from models.contract.manifest import KEPT_SORT

SECONDS: Final = 0.0025
_KEYS: Final = ("price", "priors", "item_scores")
"""Arrays of the slots; the first that a model has decides the order."""


def numbers_of(arrays: Mapping[str, AnyArray]) -> AnyArray:
    """Return the arrays by whose numbers lists are ordered.

    Raises `ValueError` if the model takes none of them.
    """
    for name in _KEYS:
        if name in arrays:
            return arrays[name]
    raise ValueError(f"the model takes none of {', '.join(_KEYS)}, by which lists are told apart")


def choose(valid: AnyArray, numbers: AnyArray, length: int) -> Ints:
    """Return each row's first valid slots, those with the highest numbers first.

    A row of fewer than `length` is filled up with -1. So every request has a list of its own, which tells it from
    the others. All rows are chosen together: one by one they would take a millisecond from the thread that does HTTP.
    """
    first = np.argsort(np.logical_not(valid), axis=1, kind="stable")[:, :length]
    missing = np.logical_not(np.take_along_axis(valid, first, axis=1))
    decide = np.take_along_axis(numbers.reshape(*valid.shape, -1)[:, :, 0], first, axis=1)
    steps = np.argsort(np.where(missing, np.inf, np.negative(decide)), axis=1, kind="stable")
    order = np.full((len(valid), length), -1, np.int64)
    order[:, : first.shape[1]] = np.where(
        np.take_along_axis(missing, steps, axis=1), -1, np.take_along_axis(first, steps, axis=1)
    )
    return order


class SleepingEngine:
    """Answer with lists of `length` by `choose`, `seconds` after the call.

    Every `spoil`-th run swaps the answers of its first and its last row, or gives the first the one of the run before;
    0: none.
    """

    provider: Final = "cpu"
    thread_safe: Final = True

    def __init__(self, length: int, largest_batch: int, *, seconds: float = SECONDS, spoil: int = 0) -> None:
        self.largest_batch = largest_batch
        self._length = length
        self._seconds = seconds
        self._spoil = spoil
        self._runs = itertools.count(1)
        self._before: Ints | None = None

    def run(self, batch: Mapping[str, AnyArray]) -> Arrays:
        ends = time.perf_counter() + self._seconds
        rows, length = len(batch["valid"]), self._length
        order = choose(batch["valid"], numbers_of(batch), length)
        if self._spoil:
            self._swap(order)
        zeros = np.zeros((rows, length), np.float32)
        time.sleep(max(0.0, ends - time.perf_counter()))
        return {
            "order": order,
            "runner_up": np.full_like(order, -1),
            "penalty": zeros,
            "score": zeros,
            "value": np.zeros((rows, length, 3), np.float32),
            KEPT_SORT: np.zeros(rows, np.bool_),
        }

    def warm_runs(self, batch: Mapping[str, AnyArray]) -> Iterator[None]:
        """Run once."""
        self.run(batch)
        yield

    def _swap(self, order: Ints) -> None:
        last = order[-1].copy()
        if next(self._runs) % self._spoil == 0 and self._before is not None:
            if len(order) > 1:
                order[[0, -1]] = order[[-1, 0]]
            else:
                order[0] = self._before
        self._before = last
