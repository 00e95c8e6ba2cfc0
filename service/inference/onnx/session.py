"""Set the options of ONNX Runtime sessions, and read a graph's fingerprint, inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from models.contract.manifest import FINGERPRINT_KEY, TensorSpec

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
    """Configure sessions: `provider` is ``cpu`` or ``cuda``, already known to work.

    `cache_folder` keeps optimised graphs (None: nowhere). `gpu_mem_limit_mb` of 0 sets no limit.
    """

    provider: str = "cpu"
    intra_op_threads: int = 1
    max_batch: int = 8
    cache_folder: Path | None = None
    cuda_graphs: bool = True
    gpu_mem_limit_mb: int = 0


def session_options(config: SessionConfig) -> ort.SessionOptions:
    """Return the options of every session; docs/results.md has the measurements behind them."""
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


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """Describe a graph: the feature spec's fingerprint in its metadata, its inputs and its outputs."""

    fingerprint: str | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, session: ort.InferenceSession) -> GraphFacts:
        """Read the description from a loaded session."""
        return cls(
            session.get_modelmeta().custom_metadata_map.get(FINGERPRINT_KEY),
            tuple(_tensor(t) for t in session.get_inputs()),
            tuple(_tensor(t) for t in session.get_outputs()),
        )


def _tensor(argument: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in argument.shape)
    return TensorSpec(argument.name, _DTYPES.get(argument.type, argument.type), shape)
