"""ONNX Runtime behind the `Engine` protocol: session options, providers, and what a graph says of itself."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.manifest import FINGERPRINT_KEY, TensorSpec
from service.settings import Provider, Settings, SettingsError
from service.stacking import Batch

_log = logging.getLogger(__name__)

_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}
# A graph of one Identity node over one float, to see whether a provider works at all.
_PROBE: Final = base64.b64decode(
    "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE="
)


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How sessions are made: `provider` is ``cpu`` or ``cuda``, already known to work."""

    provider: str = "cpu"
    intra_op_threads: int = 1


def session_config(settings: Settings) -> SessionConfig:
    """The provider that the settings ask for, tried once. Raises `SettingsError` if ``cuda`` is asked for and fails."""
    return SessionConfig(_choose_provider(settings.provider), settings.intra_op_threads)


def _choose_provider(asked: Provider) -> str:
    if asked == "cpu":
        return "cpu"
    problem = _why_no_cuda()
    if problem is None:
        return "cuda"
    if asked == "cuda":
        raise SettingsError(f"LISTWRIGHT_PROVIDER (--provider): cuda cannot be used: {problem}")
    if _PROVIDERS["cuda"] in ort.get_available_providers():
        _log.warning("this build of ONNX Runtime offers CUDA, but it does not work here: %s", problem)
    return "cpu"


def _why_no_cuda() -> str | None:
    name = _PROVIDERS["cuda"]
    if name not in ort.get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider (install the extra 'gpu')"
    ort.preload_dlls()
    try:
        session = ort.InferenceSession(_PROBE, providers=[name])
    except Exception as error:
        return str(error)
    return None if name in session.get_providers() else "the provider did not load; the log above says why"


class OnnxEngine:
    """One ONNX Runtime session."""

    def __init__(self, path: Path, config: SessionConfig) -> None:
        """Raises whatever ONNX Runtime raises for a file that it cannot load."""
        self.provider = config.provider
        self._session = ort.InferenceSession(
            str(path), sess_options=_options(config), providers=[_PROVIDERS[config.provider]]
        )
        self._output_names = [output.name for output in self._session.get_outputs()]

    largest_batch = 8

    def warm(self, batch: Batch) -> None:
        for n in range(1, self.largest_batch + 1):
            self.run({k: np.repeat(v, n, axis=0) for k, v in batch.items()})

    def run(self, batch: Batch) -> dict[str, NDArray[np.generic]]:
        """Named outputs, batch first."""
        return dict(zip(self._output_names, self._session.run(self._output_names, batch), strict=True))

    @cached_property
    def fingerprint(self) -> str | None:
        """The feature spec's fingerprint in the graph's metadata."""
        found: str | None = self._session.get_modelmeta().custom_metadata_map.get(FINGERPRINT_KEY)
        return found

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's own inputs."""
        return tuple(_tensor(t) for t in self._session.get_inputs())

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's own outputs."""
        return tuple(_tensor(t) for t in self._session.get_outputs())


def _options(config: SessionConfig) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = config.intra_op_threads
    options.inter_op_num_threads = 1
    # The reuse planner's time explodes with the nodes: an unrolled L = 50 loads in 46 s with it, in 2.3 s without it,
    # and runs no slower.
    options.enable_mem_reuse = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _tensor(argument: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in argument.shape)
    return TensorSpec(argument.name, _DTYPES.get(argument.type, argument.type), shape)
