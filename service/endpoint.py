"""`POST /v1/rerank` as a bare ASGI endpoint: the hot path has no dependency machinery.

From here on a request ends in exactly one `RequestRecord`, whatever becomes of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.auth import ApiKeys
from service.decoding import decode_request
from service.gate import Gate
from service.problems import INTERNAL, MEDIA_TYPE, Problem
from service.records import Observer, Outcome, Progress, RequestRecord
from service.rerank import Reranker
from service.schemas import RerankResponse
from service.wire import Call, check_media_type, is_header_safe, read_body, read_call, send_bytes

_log = logging.getLogger(__name__)
_encode: Final = msgspec.json.Encoder().encode
_JSON: Final = b"application/json"
_CLIENT_CLOSED: Final = 499

Headers = list[tuple[bytes, bytes]]


class RerankEndpoint:
    """Reads, answers and records one request at a time."""

    def __init__(
        self,
        *,
        max_body_bytes: int,
        read_timeout_seconds: float,
        keys: ApiKeys,
        gate: Gate,
        reranker: Reranker,
        observers: Sequence[Observer],
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._read_timeout_seconds = read_timeout_seconds
        self._keys = keys
        self._gate = gate
        self._reranker = reranker
        self._observers = tuple(observers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a fault of the service's own is a 500 that is logged once, never an exception."""
        call = read_call(scope)
        progress = Progress(call.arrival)
        try:
            response = await self._rerank(call, progress, receive)
        except ClientDisconnect:
            self._emit(call, progress, "cancelled", _CLIENT_CLOSED, None)
        except Problem as problem:
            await self._refuse(call, progress, send, problem)
        except Exception:
            _log.exception("request %s failed", call.request_id, extra=_ids(call))
            await self._refuse(call, progress, send, Problem(INTERNAL, "the log has the request id"))
        else:
            headers = [*_echo(call), (b"server-timing", _server_timing(progress))]
            await send_bytes(send, 200, _encode(response), _JSON, headers)
            progress.end("respond")
            self._emit(call, progress, "ok" if response.degraded is None else "degraded", 200, None)

    async def _rerank(self, call: Call, progress: Progress, receive: Receive) -> RerankResponse:
        self._keys.check(call.header(b"authorization"))
        with self._gate.enter():
            check_media_type(call)
            body = await read_body(call, receive, limit=self._max_body_bytes, seconds=self._read_timeout_seconds)
            request = decode_request(body)
            call.request_id = request.request_id or call.request_id
            progress.end("decode")
            return await self._reranker.rerank(request, call.request_id, progress)

    async def _refuse(self, call: Call, progress: Progress, send: Send, problem: Problem) -> None:
        status = problem.kind.status
        headers = [*_echo(call), *((k.encode(), v.encode()) for k, v in problem.headers.items())]
        await send_bytes(send, status, _encode(problem.document(call.request_id)), MEDIA_TYPE.encode(), headers)
        outcome: Outcome = "invalid" if status < 500 else "rejected" if status == 503 else "error"
        self._emit(call, progress, outcome, status, problem.kind.slug)

    def _emit(self, call: Call, progress: Progress, outcome: Outcome, status: int, reason: str | None) -> None:
        record = RequestRecord(
            request_id=call.request_id,
            trace_id=call.trace.trace_id if call.trace else None,
            outcome=outcome,
            status=status,
            seconds=progress.elapsed,
            reason=reason,
            model=progress.model,
            version=progress.version,
            stages=progress.stages,
            candidates=progress.candidates,
            batch_size=progress.batch_size,
            health=None if progress.health is None else progress.health(),
        )
        for observe in self._observers:
            observe(record)


def _echo(call: Call) -> Headers:
    headers: Headers = []
    if is_header_safe(call.request_id):
        headers.append((b"x-request-id", call.request_id.encode()))
    if call.trace is not None:
        headers.append((b"traceparent", call.trace.header.encode()))
    return headers


def _ids(call: Call) -> dict[str, str | None]:
    return {"request_id": call.request_id, "trace_id": call.trace.trace_id if call.trace else None}


def _server_timing(progress: Progress) -> bytes:
    parts = [f"{stage};dur={seconds * 1e3:.3f}" for stage, seconds in progress.stages.items()]
    return ", ".join([*parts, f"total;dur={progress.elapsed * 1e3:.3f}"]).encode()
