"""What every engine on ONNX Runtime shares: how sessions are made, on which provider, and what a graph says of itself.

Knows nothing about batches; `cpu_engine.py` and `cuda_engine.py` run them, and `engines.py` says which of the two.
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from models.contract.manifest import FINGERPRINT_KEY, TensorSpec
from models.contract.serving import set_session_options
from service.settings import Provider, Settings, SettingsError

_log = logging.getLogger(__name__)

PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""The service's names of providers, and ONNX Runtime's."""

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
    """How sessions are made: `provider` is ``cpu`` or ``cuda``, already known to work.

    `cache_folder` keeps optimised graphs (None: nowhere). `gpu_mem_limit_mb` of 0 sets no limit.
    """

    provider: str = "cpu"
    intra_op_threads: int = 1
    max_batch: int = 8
    cache_folder: Path | None = None
    cuda_graphs: bool = True
    gpu_mem_limit_mb: int = 0


def session_config(settings: Settings) -> SessionConfig:
    """The provider that the settings ask for, tried once. Raises `SettingsError` if ``cuda`` is asked for and fails."""
    return SessionConfig(
        provider=choose_provider(settings.provider),
        intra_op_threads=settings.intra_op_threads,
        max_batch=settings.max_batch,
        cache_folder=settings.graph_cache,
        cuda_graphs=settings.cuda_graphs,
        gpu_mem_limit_mb=settings.gpu_mem_limit_mb,
    )


def choose_provider(asked: Provider) -> str:
    """``cpu`` or ``cuda``. Raises `SettingsError` if ``cuda`` is asked for and does not work."""
    if asked == "cpu":
        return "cpu"
    problem = why_no_cuda()
    if problem is None:
        return "cuda"
    if asked == "cuda":
        raise SettingsError(f"LISTWRIGHT_PROVIDER (--provider): cuda cannot be used: {problem}")
    if PROVIDERS["cuda"] in ort.get_available_providers():
        _log.warning("this build of ONNX Runtime offers CUDA, but it does not work here: %s", problem)
    return "cpu"


def why_no_cuda() -> str | None:
    """What keeps CUDA from running one node here; None if nothing does."""
    name = PROVIDERS["cuda"]
    if name not in ort.get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider (install the extra 'gpu')"
    ort.preload_dlls()
    try:
        session = ort.InferenceSession(_PROBE, providers=[name])
    except Exception as error:
        return str(error)
    return None if name in session.get_providers() else "the provider did not load; the log above says why"


def session_options(config: SessionConfig) -> ort.SessionOptions:
    """Make the options of a session."""
    return set_session_options(ort.SessionOptions(), threads=config.intra_op_threads)


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What a graph says of itself: the feature spec's fingerprint in its metadata, its inputs and its outputs."""

    fingerprint: str | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, session: ort.InferenceSession) -> GraphFacts:
        """Read them from a loaded session."""
        return cls(
            session.get_modelmeta().custom_metadata_map.get(FINGERPRINT_KEY),
            tuple(_tensor(t) for t in session.get_inputs()),
            tuple(_tensor(t) for t in session.get_outputs()),
        )


def _tensor(argument: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in argument.shape)
    return TensorSpec(argument.name, _DTYPES.get(argument.type, argument.type), shape)
