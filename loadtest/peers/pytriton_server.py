"""Serve a bundle with PyTriton: a Python function behind Triton's dynamic batching.

``python -m loadtest.peers.pytriton_server --bundle FOLDER --port N [--max-batch-size B] [--queue-delay-us D]``. The
request JSON goes in as one BYTES element and the response JSON comes out as one (see `kserve.py` for the wire).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from loadtest.peers import schemas
from loadtest.peers.kserve import INPUT, MODEL, OUTPUT
from loadtest.peers.pipeline import Pipeline, server_parser

Arrays = dict[str, NDArray[Any]]


def infer_with(pipeline: Pipeline) -> Callable[[Sequence[Any]], list[Arrays]]:
    """Make the function that answers a batch of requests, each bytes objects [1, 1]."""
    decode = msgspec.json.Decoder(schemas.PeerRequest).decode
    encode = msgspec.json.Encoder().encode

    def infer(requests: Sequence[Any]) -> list[Arrays]:
        answers = pipeline.rerank_batch([decode(request[INPUT][0, 0]) for request in requests])
        return [{OUTPUT: np.array([[encode(answer)]], np.object_)} for answer in answers]

    return infer


def main() -> None:
    """Serve until SIGTERM."""
    parser = server_parser(__doc__)
    parser.add_argument("--max-batch-size", type=int, default=8)
    parser.add_argument("--queue-delay-us", type=int, default=0, help="microseconds to wait for a batch to fill")
    options = parser.parse_args()
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=options.port,
        http_thread_count=1,
        allow_grpc=False,
        allow_metrics=False,
        allow_gpu_metrics=False,
        allow_cpu_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=MODEL,
            infer_func=infer_with(Pipeline(options.bundle, options.catalogue)),
            inputs=[Tensor(name=INPUT, dtype=bytes, shape=(1,))],
            outputs=[Tensor(name=OUTPUT, dtype=bytes, shape=(1,))],
            config=ModelConfig(
                max_batch_size=options.max_batch_size,
                batcher=DynamicBatcher(max_queue_delay_microseconds=options.queue_delay_us),
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
