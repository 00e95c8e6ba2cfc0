"""Search the goodput: the highest constant rate of arrivals within the budget.

A rate is kept if, of all requests that were due in a window, 99% got a list of full quality within the budget, counted
from their intended start, and none ended in an error. So a refusal, a degraded list and a late one weigh the same, for
every server that is measured.

Rules, fixed before anything was measured with them: a window whose CPUs were disturbed from outside (`Rules.disturbed`)
is measured again, at most `Rules.repeats` times, after which it counts as it is; a rate that is not kept gets a second
window, and is given up only if that one does not keep it either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtest.rig.openloop.window import Records, Window, full_list, nearest_rank
from loadtest.rig.statistics import BUDGET_MS

IsFull = Callable[[Records], NDArray[np.bool_]]
_QUANTILE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Trial:
    """One window at one `rate` (requests/s); times of answers without a full list are infinite.

    `full_rate` is full lists within the budget per second; `errors` are requests without a whole answer or with a
    status of 500 or more that is no refusal (503); `refused` has those, `degraded` the lists that no model made.
    """

    rate: float
    requests: int
    p50_ms: float
    p99_ms: float
    full_rate: float
    errors: int
    refused: int
    degraded: int
    kept: bool
    discarded: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Say which windows keep the budget, and which do not count.

    A window does not count if the client's CPU overslept or the hypervisor took time from any CPU.
    """

    budget_ms: float = BUDGET_MS
    hiccup_p99_ms: float = 3.0
    steal: float = 0.02
    repeats: int = 3

    def disturbed(self, window: Window) -> bool:
        """Say whether something else took the CPUs; response times play no part."""
        return window.hiccups.p99_ms > self.hiccup_p99_ms or any(s > self.steal for s in window.steal.values())

    def judge(self, window: Window, rate: float, is_full: IsFull = full_list) -> Trial:
        """Judge a window at `rate`."""
        full = is_full(window.records)
        times = np.where(full, window.times_ms(), np.inf)
        p99 = nearest_rank(times, _QUANTILE)
        status = window.records["status"]
        refused = window.answered & (status == 503)
        errors = window.errors + int(np.count_nonzero(window.answered & (status >= 500) & ~refused))
        lists = window.answered & (status == 200)
        return Trial(
            rate=rate,
            requests=len(window),
            p50_ms=nearest_rank(times, 0.5),
            p99_ms=p99,
            full_rate=int(np.count_nonzero(times <= self.budget_ms)) / window.seconds,
            errors=errors,
            refused=int(np.count_nonzero(refused)),
            degraded=int(np.count_nonzero(lists & ~full)),
            kept=p99 <= self.budget_ms and not errors,
            discarded=self.disturbed(window),
        )


@dataclass(frozen=True, slots=True)
class Goodput:
    """The highest rate that was kept (0 for none), and all windows."""

    rate: float
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """Search from `guess` outwards by `step`, then halve the gap down to `resolution` (a ratio)."""

    guess: float
    step: float = 1.25
    resolution: float = 1.03
    lowest: float = 10.0
    highest: float = 20_000.0

    def __post_init__(self) -> None:
        if not (self.lowest <= self.guess <= self.highest and self.step > self.resolution > 1):
            raise ValueError(f"a search needs lowest <= guess <= highest and step > resolution > 1: {self}")


def find_goodput(offer: Callable[[float], Trial], search: Search, rules: Rules | None = None) -> Goodput:
    """Call `offer` for windows until the highest rate that is kept is known to `search.resolution`."""
    repeats = (rules or Rules()).repeats
    trials: list[Trial] = []

    def measure(rate: float) -> Trial:
        for _ in range(1 + repeats):
            trials.append(offer(rate))
            if not trials[-1].discarded:
                break
        return trials[-1]

    def keeps(rate: float) -> bool:
        return measure(rate).kept or measure(rate).kept

    kept, lost = _bracket(keeps, search)
    while kept and lost and lost / kept > search.resolution:
        middle = math.sqrt(kept * lost)
        if keeps(middle):
            kept = middle
        else:
            lost = middle
    return Goodput(kept, tuple(trials))


def _bracket(keeps: Callable[[float], bool], search: Search) -> tuple[float, float]:
    """Return a rate that is kept and one that is not; 0 for none."""
    kept = lost = 0.0
    rate = search.guess
    while True:
        if keeps(rate):
            kept = rate
            following = min(rate * search.step, search.highest)
        else:
            lost = rate
            following = max(rate / search.step, search.lowest)
        if (kept and lost) or following == rate:
            return kept, lost
        rate = following
