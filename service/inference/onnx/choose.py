"""Choose the provider that ONNX Runtime runs on, and the engine for it."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import onnxruntime as ort

from service.inference.onnx.cpu import CpuEngine
from service.inference.onnx.cuda import CudaEngine
from service.inference.onnx.session import PROVIDERS, SessionConfig
from service.options.engine import Provider
from service.settings import Settings, SettingsError

_log = logging.getLogger(__name__)
# A graph of one Identity node over one float, to see whether a provider works at all.
_PROBE: Final = base64.b64decode(
    "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE="
)

NO_CUDA_BUILD: Final = "this build of ONNX Runtime has no CUDA provider (install the extra 'gpu')"

OnnxEngine = CpuEngine | CudaEngine


def load_engine(path: Path, config: SessionConfig, *, model_sha256: str) -> OnnxEngine:
    """Load a model for the provider in `config`. Raises ONNX Runtime's errors."""
    return CudaEngine(path, config) if config.provider == "cuda" else CpuEngine(path, config, model_sha256)


def session_config(settings: Settings, provider: str | None = None) -> SessionConfig:
    """Configure sessions, on a `provider` that is known to work if one is given.

    Raises `SettingsError` if ``cuda`` is asked for and does not work.
    """
    return SessionConfig(
        provider=provider or choose_provider(settings.provider),
        intra_op_threads=settings.intra_op_threads,
        max_batch=settings.max_batch,
        cache_folder=settings.graph_cache,
        cuda_graphs=settings.cuda_graphs,
        gpu_mem_limit_mb=settings.gpu_mem_limit_mb,
    )


def choose_provider(asked: Provider, probe: Callable[[], str | None] | None = None) -> str:
    """Return ``cpu`` or ``cuda``, which `probe` tries (by default `why_no_cuda`).

    Raises `SettingsError` if ``cuda`` is asked for and does not work.
    """
    if asked == "cpu":
        return "cpu"
    problem = (probe or why_no_cuda)()
    if problem is None:
        return "cuda"
    if asked == "cuda":
        raise SettingsError(f"LISTWRIGHT_PROVIDER (--provider): cuda cannot be used: {problem}")
    if PROVIDERS["cuda"] in ort.get_available_providers():
        _log.warning("this build of ONNX Runtime offers CUDA, but it does not work here: %s", problem)
    return "cpu"


def why_no_cuda(device: int = 0) -> str | None:
    """Run one node on a GPU; return the problem if it fails, else None."""
    name = PROVIDERS["cuda"]
    if name not in ort.get_available_providers():
        return NO_CUDA_BUILD
    ort.preload_dlls()
    try:
        session = ort.InferenceSession(_PROBE, providers=[(name, {"device_id": device})])
    except Exception as error:
        return str(error)
    return None if name in session.get_providers() else "the provider did not load; the log above says why"
