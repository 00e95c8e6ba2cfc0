"""Fair timing on a machine whose speed drifts within minutes: contestants take turns in short blocks.

Knows nothing about what it times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

Run = Callable[[], object]


def interleaved(contestants: Mapping[str, Run], *, blocks: int, runs: int) -> dict[str, list[float]]:
    """Seconds per run of every contestant, one figure a block (the block's median), in a new random order each block.

    A contestant that takes over 20 ms runs only once a block.
    """
    rng = np.random.default_rng(0)
    repeats = {name: 1 if _slow(run) else runs for name, run in contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(blocks):
        for name in rng.permutation(list(contestants)):
            contestants[name]()  # caches are another contestant's now
            seconds[name].append(float(np.median([_timed(contestants[name]) for _ in range(repeats[name])])))
    return seconds


def _slow(run: Run) -> bool:
    run()
    return _timed(run) > 0.02


def _timed(run: Run) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
