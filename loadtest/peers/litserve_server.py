"""Serve a bundle with LitServe: one API server process, one inference worker.

``python -m loadtest.peers.litserve_server --bundle FOLDER --port N [--max-batch-size B] [--batch-timeout SECONDS] …``.
"""

# No `from __future__ import annotations`: LitServe reads the annotation of `decode_request` when the server starts.
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import litserve as ls
import msgspec
from fastapi import Request, Response

from loadtest.peers import schemas
from loadtest.peers.pipeline import UVICORN, Inferred, Pipeline, PreparedRequest, server_parser
from models.contract.serving import RERANK_PATH

if TYPE_CHECKING:
    Body = dict[str, Any]
else:
    Body = Request  # What LitServe takes as "parse the body as JSON, and hand on what came".


class RerankAPI(ls.LitAPI):  # type: ignore[misc,unused-ignore]  # litserve is not installed where this is checked
    """Do everything in the worker; the API server only parses JSON and writes bytes."""

    def __init__(self, bundle: Path, catalogue: Path | None, **options: Any) -> None:
        super().__init__(api_path=RERANK_PATH, **options)
        self._bundle = bundle
        self._catalogue = catalogue

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe passes it by name
        """Load the bundle, in the worker."""
        self._pipeline = Pipeline(self._bundle, self._catalogue)
        self._encode = msgspec.json.Encoder().encode

    def decode_request(self, request: Body) -> PreparedRequest:
        """Make the arrays of one request."""
        return self._pipeline.prepare(msgspec.convert(request, schemas.PeerRequest))

    def batch(self, inputs: Sequence[PreparedRequest]) -> Sequence[PreparedRequest]:
        """Return the rows as they are; they are stacked when the model runs."""
        return inputs

    def predict(self, x: PreparedRequest | Sequence[PreparedRequest]) -> list[tuple[PreparedRequest, Inferred, int]]:
        """Run the model once for a batch; without batching LitServe hands over a single request."""
        batch = [x] if isinstance(x, PreparedRequest) else x
        inferred = self._pipeline.infer(batch)
        return [(prepared, inferred, i) for i, prepared in enumerate(batch)]

    def unbatch(
        self, output: list[tuple[PreparedRequest, Inferred, int]]
    ) -> list[list[tuple[PreparedRequest, Inferred, int]]]:
        """Split a batch into one list for each request."""
        return [[one] for one in output]

    def encode_response(self, output: list[tuple[PreparedRequest, Inferred, int]]) -> Response:
        """Encode the response, so that the API server need not serialise it a second time."""
        return Response(self._encode(self._pipeline.finish(*output[0])), media_type="application/json")


def main() -> None:
    """Serve until SIGTERM."""
    parser = server_parser(__doc__)
    parser.add_argument("--max-batch-size", type=int, default=8)
    parser.add_argument("--batch-timeout", type=float, default=0.001, help="seconds to collect a batch")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--zmq", action="store_true", help="ZeroMQ between the processes in place of a pipe")
    options = parser.parse_args()
    batching = {"max_batch_size": options.max_batch_size, "batch_timeout": options.batch_timeout}
    api = RerankAPI(options.bundle, options.catalogue, **batching)
    server = ls.LitServer(
        api,
        accelerator="cpu",
        devices=1,
        workers_per_device=options.workers,
        timeout=False,
        fast_queue=options.zmq,
        disable_openapi_url=True,
    )
    server.run(port=options.port, num_api_servers=1, generate_client_file=False, log_level="error", **UVICORN)


if __name__ == "__main__":
    main()
