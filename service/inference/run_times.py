"""Learn how long each engine's runs take."""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from service.inference.batching import seconds_for
from service.inference.engine import Engine
from service.timing.estimate import LiveFit

_NO_RUNS: Final = LiveFit()
"""The fit of an engine that has not run yet; nothing is ever added to it."""


class RunTimes:
    """Fit the seconds of each engine's runs to the number of their jobs.

    An engine is forgotten with its last reference.
    """

    def __init__(self) -> None:
        self._fits: WeakKeyDictionary[Engine, LiveFit] = WeakKeyDictionary()

    def add(self, engine: Engine, jobs: int, seconds: float) -> None:
        """Note a run."""
        self._fits.setdefault(engine, LiveFit()).add(jobs, seconds)

    def of(self, engine: Engine) -> LiveFit:
        """Return the fit of one engine; without observations before its first run."""
        return self._fits.get(engine, _NO_RUNS)

    def of_jobs(self, engine: Engine, jobs: int) -> float:
        """Predict the seconds of so many jobs, in full batches and one of the rest."""
        return seconds_for(jobs, engine.largest_batch, self.of(engine).predict)
