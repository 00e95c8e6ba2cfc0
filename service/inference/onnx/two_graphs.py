"""Run a model's plain graph, or its second one where a batch has rules.

Each graph is an engine of its own, with its own session, buffers and CUDA graphs. To all others they are one engine, so
that requests with rules and without are batched, timed and watched together: a run with rules takes at most a quarter
longer, and the estimate of times follows what is asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from models.contract.arrays import Arrays
from models.contract.rules.tensors import RULE_INPUTS, STEP_BARS
from models.contract.tensor_specs import TensorSpec
from service.inference.engine import BatchArrays
from service.inference.onnx.choose import OnnxEngine
from service.inference.onnx.session import SessionConfig


class TwoGraphs:
    """Run the ruled graph for a batch that has rules, else the plain one."""

    def __init__(self, plain: OnnxEngine, ruled: OnnxEngine) -> None:
        self._plain = plain
        self._ruled = ruled
        self.provider = plain.provider
        self.largest_batch = plain.largest_batch
        self.thread_safe = plain.thread_safe

    def run(self, batch: BatchArrays) -> Arrays:
        return (self._ruled if STEP_BARS in batch else self._plain).run(batch)

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        """Run every shape of both graphs.

        A request without the tensors of rules has zeros for them in the ruled graph.
        """
        yield from self._plain.warm_runs({name: array for name, array in batch.items() if name not in RULE_INPUTS})
        yield from self._ruled.warm_runs(
            batch if STEP_BARS in batch else with_no_rules(batch, self._ruled.facts.inputs)
        )


def with_no_rules(batch: BatchArrays, inputs: Sequence[TensorSpec]) -> BatchArrays:
    """Add zeros for the tensors of rules to a batch that has all other `inputs`."""
    sizes = {
        axis: size
        for tensor in inputs
        if tensor.name in batch
        for axis, size in zip(tensor.shape, batch[tensor.name].shape, strict=True)
    }
    zeros = {
        t.name: np.zeros([sizes.get(axis, axis) for axis in t.shape], t.dtype) for t in inputs if t.name in RULE_INPUTS
    }
    return {**batch, **zeros}


def share_of_memory(config: SessionConfig) -> SessionConfig:
    """Return the options of each of two sessions.

    A limit of device memory is for both together.
    """
    limit = config.gpu_mem_limit_mb
    return dataclasses.replace(config, gpu_mem_limit_mb=max(1, limit // 2) if limit else 0)
