"""Run an ONNX Runtime session on an NVIDIA GPU, with CUDA graphs where possible.

Only the parts that need a GPU are here; shapes, buffers and padding are in `shapes.py` and `static.py`.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from models.contract.arrays import Arrays
from service.inference.engine import BatchArrays
from service.inference.onnx.session import PROVIDERS, SessionConfig, session_options
from service.inference.onnx.static import StaticEngine

_log = logging.getLogger(__name__)

_CAPTURES_SAFELY: Final = (1, 31)
"""Before this version a captured GatherND, Concat or Split reads host memory that has been freed when it is replayed
(microsoft/onnxruntime#32120 and #32121)."""

_DEVICE: Final = "cuda"
"""ONNX Runtime's name of the memory in which a session's buffers lie."""


class CudaEngine:
    """Run a graph on CUDA, as CUDA graphs where possible, else node by node."""

    provider: Final = "cuda"
    thread_safe: Final = False

    def __init__(self, path: Path, config: SessionConfig) -> None:
        """Load the model. Raises ONNX Runtime's error for a file that it cannot load."""
        self._path = path
        self._config = config
        self.why_no_graphs: str | None = _why_no_capture(config)
        if self.why_no_graphs is not None and config.cuda_graphs:
            self._say_why()
        self._engine: StaticEngine | None = self._open_with_graphs() if self.why_no_graphs is None else None
        self._engine = self._engine or self._open(graphs=False)
        self.facts = self._engine.facts
        self.largest_batch = config.max_batch

    @property
    def captured(self) -> int:
        """Number of shapes that are replayed as one graph; 0 before it is warm."""
        return self._running().captured

    def run(self, batch: BatchArrays) -> Arrays:
        """Return the outputs by name, with as many rows as `batch`."""
        return self._running().run(batch)

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        """Run and capture every shape; if one fails, run all without graphs."""
        try:
            yield from self._running().warm_runs(batch)
            return
        except Exception as error:  # ONNX Runtime's errors have no common base.
            if not self._running().graphs:
                raise
            self.why_no_graphs = _in_words(error)
        self._say_why()
        # Only now does nothing hold the error, and with it the session. Until the session has gone its stream may still
        # be capturing, and a new session cannot be made during a capture.
        self._engine = None
        gc.collect()
        self._engine = self._open(graphs=False)
        yield from self._engine.warm_runs(batch)

    def _running(self) -> StaticEngine:
        if self._engine is None:
            raise RuntimeError(f"{self._path}: capturing CUDA graphs failed, and so did the session without them")
        return self._engine

    def _open_with_graphs(self) -> StaticEngine | None:
        """Open a session with graphs; return None if ONNX Runtime refuses."""
        try:
            return self._open(graphs=True)
        except Exception as error:  # ONNX Runtime's errors have no common base.
            self.why_no_graphs = _in_words(error)
        self._say_why()
        return None

    def _open(self, *, graphs: bool) -> StaticEngine:
        session = _session(self._path, self._config, graphs=graphs)
        return StaticEngine(
            session, provider=self.provider, largest_batch=self._config.max_batch, device=_DEVICE, graphs=graphs
        )

    def _say_why(self) -> None:
        _log.warning("CUDA graphs are off for %s: %s", self._path, self.why_no_graphs)


def _in_words(error: Exception) -> str:
    return str(error) or repr(error)


def _why_no_capture(config: SessionConfig) -> str | None:
    """Return the reason for not using CUDA graphs, or None."""
    if not config.cuda_graphs:
        return "the settings say so"
    version = tuple(int(part) for part in ort.__version__.split(".")[:2])
    if version < _CAPTURES_SAFELY:
        return f"they need ONNX Runtime {'.'.join(map(str, _CAPTURES_SAFELY))}, and this is {ort.__version__}"
    return None


def provider_options(config: SessionConfig, *, graphs: bool) -> dict[str, Any]:
    """Return the options of the CUDA provider, as ONNX Runtime names them."""
    options = {
        "enable_cuda_graph": "1" if graphs else "0",
        "arena_extend_strategy": "kSameAsRequested",
        # With its ten bits of mantissa, orders would differ from those that were proved at export.
        "use_tf32": "0",
    }
    if config.gpu_mem_limit_mb:
        options["gpu_mem_limit"] = str(config.gpu_mem_limit_mb * 1024 * 1024)
    return options


def _session(path: Path, config: SessionConfig, *, graphs: bool) -> ort.InferenceSession:
    providers = [(PROVIDERS["cuda"], provider_options(config, graphs=graphs))]
    session = ort.InferenceSession(str(path), sess_options=session_options(config), providers=providers)
    if PROVIDERS["cuda"] not in session.get_providers():
        raise RuntimeError("the CUDA provider did not load; the log above says why")
    return session
