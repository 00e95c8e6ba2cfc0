"""Serve with plain FastAPI and ONNX Runtime: pydantic in and out, uvicorn tuned.

``python -m loadtest.peers.fastapi_server --bundle FOLDER --port N [--endpoint KIND]``. Kinds: ``inline`` runs the
model in the event loop, ``sync`` in FastAPI's thread pool, ``executor`` awaits a thread of its own; ``raw`` is inline
with the body decoded by msgspec and the answer encoded by it, around pydantic and FastAPI's serialisation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response

from loadtest.peers import schemas
from loadtest.peers.pipeline import UVICORN, Pipeline, server_parser
from loadtest.peers.pydantic_schemas import RerankRequest, RerankResponse
from models.contract.serving import RERANK_PATH


def create_app(bundle: Path, endpoint: str = "inline", catalogue: Path | None = None) -> FastAPI:
    """Make the app. Raises `ValueError` for a bundle that peers cannot serve."""
    handlers = {"inline": _inline, "sync": _sync, "executor": _executor, "raw": _raw}
    app = FastAPI()
    app.add_api_route("/health", _healthy, methods=["GET"])
    app.add_api_route(RERANK_PATH, handlers[endpoint](Pipeline(bundle, catalogue)), methods=["POST"])
    return app


def _healthy() -> dict[str, str]:
    return {"status": "ok"}


def _inline(pipeline: Pipeline) -> Callable[..., Awaitable[RerankResponse]]:
    async def rerank(request: RerankRequest) -> RerankResponse:
        return RerankResponse(**pipeline.rerank(request))

    return rerank


def _sync(pipeline: Pipeline) -> Callable[..., RerankResponse]:
    def rerank(request: RerankRequest) -> RerankResponse:
        return RerankResponse(**pipeline.rerank(request))

    return rerank


def _executor(pipeline: Pipeline) -> Callable[..., Awaitable[RerankResponse]]:
    pool = ThreadPoolExecutor(1)

    async def rerank(request: RerankRequest) -> RerankResponse:
        prepared = pipeline.prepare(request)
        inferred = await asyncio.get_running_loop().run_in_executor(pool, pipeline.infer, [prepared])
        return RerankResponse(**pipeline.finish(prepared, inferred))

    return rerank


def _raw(pipeline: Pipeline) -> Callable[..., Awaitable[Response]]:
    decode = msgspec.json.Decoder(schemas.PeerRequest).decode
    encode = msgspec.json.Encoder().encode

    async def rerank(request: Request) -> Response:
        answer = pipeline.rerank(decode(await request.body()))
        return Response(encode(answer), media_type="application/json")

    return rerank


def main() -> None:
    """Serve until SIGTERM."""
    parser = server_parser(__doc__)
    parser.add_argument("--endpoint", choices=["inline", "sync", "executor", "raw"], default="inline")
    options = parser.parse_args()
    app = create_app(options.bundle, options.endpoint, options.catalogue)
    uvicorn.run(app, port=options.port, lifespan="off", log_level="warning", **UVICORN)


if __name__ == "__main__":
    main()
