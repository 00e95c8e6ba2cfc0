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
    clock = BlockClock(contestants, runs=runs)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(blocks):
        for name, value in clock.block().items():
            seconds[name].append(value)
    return seconds


class BlockClock:
    """Times contestants one block at a time, for blocks that take turns with something else."""

    def __init__(self, contestants: Mapping[str, Run], *, runs: int) -> None:
        """Runs every contestant twice, to see whether it is slow."""
        self._contestants = contestants
        self._repeats = {name: 1 if _slow(run) else runs for name, run in contestants.items()}
        self._rng = np.random.default_rng(0)

    def block(self) -> dict[str, float]:
        """Every contestant's median seconds per run, timed in a new random order."""
        seconds = {}
        for name in self._rng.permutation(list(self._contestants)).tolist():
            run = self._contestants[name]
            run()  # caches are another contestant's now
            seconds[name] = float(np.median([_timed(run) for _ in range(self._repeats[name])]))
        return seconds


def _slow(run: Run) -> bool:
    run()
    return _timed(run) > 0.02


def _timed(run: Run) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
