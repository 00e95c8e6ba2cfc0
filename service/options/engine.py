"""Say in which processes and on which hardware models run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from service.environment import user_cache_folder
from service.options.values import Seconds

Provider = Literal["auto", "cpu", "cuda"]


class EngineOptions(BaseModel):
    """Processes, providers and threads of models."""

    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Processes that answer requests: on CPU one per core, on CUDA as many as feed a GPU.",
    )
    engine_processes: int | None = Field(
        None,
        ge=0,
        le=64,
        description="Processes that run the models for all workers: on CUDA one per GPU, at most one per worker. "
        "0: each worker runs them itself. Missing: 1 for several workers on CUDA, else 0.",
    )
    provider: Provider = Field(
        "auto",
        description="Provider of ONNX Runtime: `cpu`, `cuda` (an error at start if it does not work), or `auto`.",
    )
    intra_op_threads: int = Field(1, ge=1, le=256, description="ONNX Runtime threads for one run on CPU.")
    max_batch: int = Field(8, ge=1, le=1024, description="Most requests in one run of the engine.")
    cache_folder: str | None = Field(
        None,
        description="Folder for graphs that are optimised for this host, so that they load faster the next time. "
        "Missing: `listwright` in the user's cache folder; empty: no cache.",
    )
    cuda_graphs: bool = Field(
        True,
        description="On CUDA: capture one graph per shape at warm-up and replay it, which launches kernels faster.",
    )
    gpu_mem_limit_mb: int = Field(0, ge=0, description="On CUDA: most MiB of one model's memory arena; 0 for no limit.")
    engine_hang_seconds: Seconds = Field(
        5.0,
        description="A run of the engine that takes longer is taken to hang: the process is not ready, drains, and "
        "ends with an error; a worker is replaced, and so is an engine process.",
    )

    @property
    def graph_cache(self) -> Path | None:
        """Folder for optimised graphs; None for no cache."""
        if self.cache_folder is None:
            return user_cache_folder()
        return Path(self.cache_folder).expanduser() if self.cache_folder else None
