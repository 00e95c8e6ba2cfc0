"""Which engine a model gets."""

from __future__ import annotations

from pathlib import Path

from service.inference.onnx.cpu import CpuEngine
from service.inference.onnx.cuda import CudaEngine
from service.inference.onnx.session import SessionConfig

OnnxEngine = CpuEngine | CudaEngine


def load_engine(path: Path, config: SessionConfig, *, model_sha256: str) -> OnnxEngine:
    """The engine for the provider in `config`. Raises whatever ONNX Runtime raises for a file that it cannot load."""
    return CudaEngine(path, config) if config.provider == "cuda" else CpuEngine(path, config, model_sha256)
