"""Run a planner's graph offline, in ONNX Runtime, in this process: for evaluation, proofs and benchmarks.

The service has an engine of its own (`service/inference/onnx/session.py`), behind a dedicated thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx  # not among what serving installs, and a graph that comes as bytes does not need it

Feeds = Mapping[str, NDArray[np.generic]]


def session_options(*, threads: int = 1) -> onnxruntime.SessionOptions:
    """The options that every measurement here uses, and the service's defaults on CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Planning buffer reuse is quadratic in the nodes and gains nothing on graphs of tiny tensors.
    options.enable_mem_reuse = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class GraphPlanner:
    """A generation graph ready to run. Outputs as in `queues.queue_graph`."""

    def __init__(self, model: onnx.ModelProto | bytes, *, threads: int = 1) -> None:
        serialised = model if isinstance(model, bytes) else model.SerializeToString()
        self._session = onnxruntime.InferenceSession(
            serialised, session_options(threads=threads), providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(i.name for i in self._session.get_inputs())
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def __call__(self, feeds: Feeds) -> dict[str, NDArray[np.generic]]:
        """Run one batch. `feeds` may hold arrays that the graph does not take (those without columns)."""
        values = self._session.run(None, {name: feeds[name] for name in self.inputs})
        return dict(zip(self.outputs, values, strict=True))
