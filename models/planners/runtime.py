"""Run a planner's graph in ONNX Runtime, in this process: for evaluation, proofs and benchmarks.

The service has engines of its own (`service/inference/onnx/`), behind a dedicated thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnxruntime

from models.contract.arrays import AnyArray
from models.contract.serving import set_session_options

if TYPE_CHECKING:
    import onnx  # not among what serving installs, and a graph that comes as bytes does not need it

Feeds = Mapping[str, AnyArray]


def session_options(*, threads: int = 1) -> onnxruntime.SessionOptions:
    """Make session options: those of the service on CPU."""
    return set_session_options(onnxruntime.SessionOptions(), threads=threads)


class GraphPlanner:
    """Run a generation graph; its outputs are those of `graphs.sort_gen.queue_graph` or `graphs.degre`'s."""

    def __init__(self, model: onnx.ModelProto | bytes, *, threads: int = 1) -> None:
        serialised = model if isinstance(model, bytes) else model.SerializeToString()
        self._session = onnxruntime.InferenceSession(
            serialised, session_options(threads=threads), providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(i.name for i in self._session.get_inputs())
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def __call__(self, feeds: Feeds) -> dict[str, AnyArray]:
        """Run one batch. `feeds` may hold arrays without columns, which the graph lacks."""
        values = self._session.run(None, {name: feeds[name] for name in self.inputs})
        return dict(zip(self.outputs, values, strict=True))
