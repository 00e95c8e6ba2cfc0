"""Time contestants in turn, in short blocks, on a machine whose speed drifts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

Run = Callable[[], object]
_SLOW_SECONDS = 0.02


def interleaved(contestants: Mapping[str, Run], *, blocks: int, runs: int) -> dict[str, list[float]]:
    """Return seconds per run of every contestant: one median of `runs` a block.

    The order is random and new in each block. A contestant that takes over 20 ms runs only once a block.
    """
    rng = np.random.default_rng(0)
    repeats = {name: 1 if _is_slow(run) else runs for name, run in contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(blocks):
        for name in rng.permutation(list(contestants)).tolist():
            run = contestants[name]
            run()  # The caches are another contestant's now.
            seconds[name].append(float(np.median([_timed(run) for _ in range(repeats[name])])))
    return seconds


def _is_slow(run: Run) -> bool:
    run()
    return _timed(run) > _SLOW_SECONDS


def _timed(run: Run) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
