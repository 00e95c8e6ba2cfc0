"""Set the options of ONNX Runtime sessions, and read a graph's fingerprint, inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from models.contract.manifest import FINGERPRINT_KEY
from models.contract.serving import set_session_options
from models.contract.tensor_specs import TensorSpec

PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""ONNX Runtime's names of providers, by the service's."""

_DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Options of sessions: `provider` is ``cpu`` or ``cuda``, already known to work.

    `cache_folder` keeps optimised graphs (None: nowhere). `gpu_mem_limit_mb` of 0 sets no limit.
    """

    provider: str = "cpu"
    intra_op_threads: int = 1
    max_batch: int = 8
    cache_folder: Path | None = None
    cuda_graphs: bool = True
    gpu_mem_limit_mb: int = 0


def session_options(config: SessionConfig) -> ort.SessionOptions:
    return set_session_options(ort.SessionOptions(), threads=config.intra_op_threads)


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """Describe a graph: the feature spec's fingerprint in its metadata, its inputs and its outputs."""

    fingerprint: str | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, session: ort.InferenceSession) -> GraphFacts:
        return cls(
            session.get_modelmeta().custom_metadata_map.get(FINGERPRINT_KEY),
            tuple(_tensor(t) for t in session.get_inputs()),
            tuple(_tensor(t) for t in session.get_outputs()),
        )


def _tensor(argument: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in argument.shape)
    return TensorSpec(argument.name, _DTYPES.get(argument.type, argument.type), shape)
