"""Stand for a model that runs in an engine process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.contract.arrays import Arrays
from service.engines.wire import Served
from service.inference.engine import BatchArrays, EngineError


class RemoteEngine:
    """Describe a model that an engine process runs; its jobs go there over a link."""

    thread_safe: Final = False

    def __init__(self, served: Served) -> None:
        self.key = served.key
        self.provider = served.provider
        self.largest_batch = served.largest_batch

    def run(self, _: BatchArrays) -> Arrays:
        """Raise `EngineError`: what runs batches is the engine process."""
        raise EngineError(f"{self.key.name} {self.key.version} runs in the engine process only")

    def warm_runs(self, _: BatchArrays) -> Iterator[None]:
        """Return no runs: the engine process has made them before it listened."""
        return iter(())
