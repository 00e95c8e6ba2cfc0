"""Gathers requests into batches for the engine. For now each request is a batch of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Engine, InferenceThread

Row = Mapping[str, NDArray[np.generic]]
"""Named arrays of one request, without a batch axis."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's share of a run."""

    outputs: dict[str, NDArray[np.generic]]
    wait_seconds: float
    infer_seconds: float
    batch_size: int


class Batcher:
    """The only way from a request to the inference thread."""

    def __init__(self, thread: InferenceThread) -> None:
        self._thread = thread

    @property
    def depth(self) -> int:
        """Requests that wait for the engine."""
        return self._thread.depth

    async def run(self, engine: Engine, row: Row) -> Answer:
        """The engine's outputs for one request. Raises `EngineError`."""
        result = await self._thread.submit(engine, {name: array[None] for name, array in row.items()})
        outputs = {name: array[0] for name, array in result.outputs.items()}
        return Answer(outputs, result.wait_seconds, result.infer_seconds, batch_size=1)
