"""Run one ONNX Runtime session on CPU, with batches of any size.

Plain `session.run`: the arrays are in host memory already, so binding them to fixed buffers would add a copy here and
save none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from models.contract.arrays import Arrays
from service.inference.engine import BatchArrays
from service.inference.onnx.graph_cache import GraphCache
from service.inference.onnx.session import PROVIDERS, GraphFacts, SessionConfig, session_options

_WARM_RUNS: Final = 3


class CpuEngine:
    """Run a graph on CPU. The batch size is dynamic: nothing is padded."""

    provider: Final = "cpu"
    thread_safe: Final = True

    def __init__(self, path: Path, config: SessionConfig, model_sha256: str) -> None:
        """Load the model. Raises ONNX Runtime's error for a file that it cannot load."""
        self._session = _load(path, config, model_sha256)
        self._output_names = [output.name for output in self._session.get_outputs()]
        self.facts = GraphFacts.of(self._session)
        self.largest_batch = config.max_batch

    def run(self, batch: BatchArrays) -> Arrays:
        return dict(zip(self._output_names, self._session.run(self._output_names, batch), strict=True))

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        """Run every batch size that may come, made of copies of one request."""
        for rows in range(1, self.largest_batch + 1):
            copies = {name: np.repeat(array, rows, axis=0) for name, array in batch.items()}
            for _ in range(_WARM_RUNS):
                self.run(copies)
                yield


def _load(path: Path, config: SessionConfig, model_sha256: str) -> ort.InferenceSession:
    def make(model: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
        return ort.InferenceSession(model, sess_options=options, providers=[PROVIDERS["cpu"]])

    if config.cache_folder is None:
        return make(str(path), session_options(config))
    cache = GraphCache(config.cache_folder, make)
    return cache.load(path, lambda: session_options(config), key=("cpu", model_sha256, str(config.intra_op_threads)))
