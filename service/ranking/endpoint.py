"""`POST /v1/rerank` as a bare ASGI endpoint: the hot path has no dependency machinery.

From here on a request ends in exactly one `RequestRecord`, whatever becomes of it. One that is refused for overload is
refused by `shed`, which the HTTP protocol asks as soon as it has read the headers: no task, no body, no decoding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.contract.decoding import decode_request
from service.contract.problems import INTERNAL, MEDIA_TYPE, OVERLOADED, SHED, Kind, Problem, unavailable
from service.contract.schemas import RerankRequest, RerankResponse
from service.ranking.rerank import Reranker
from service.telemetry.records import Observer, Outcome, Progress, RequestRecord
from service.timing.admission import Admission, RefusalReason, Ticket
from service.timing.deadline import Deadline, header_timeout
from service.transport.asgi import TICKET_KEY, Call, check_media_type, is_header_safe, read_body, read_call, send_bytes
from service.transport.auth import ApiKeys

_log = logging.getLogger(__name__)
_encode: Final = msgspec.json.Encoder().encode
_JSON: Final = b"application/json"
_CLIENT_CLOSED: Final = 499
_REFUSALS: Final[dict[RefusalReason, tuple[Kind, str]]] = {
    "overloaded": (OVERLOADED, "as many requests as allowed are in progress"),
    "shed": (SHED, "requests come in faster than they can be answered in time"),
}

Headers = list[tuple[bytes, bytes]]
Answered = tuple[RerankRequest, RerankResponse]
Afterwards = Callable[[RerankRequest, RerankResponse], None]
"""Told of a list once it has been sent; may not raise."""


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Limits of one request: bytes of its body, seconds for reading it and for answering; `Retry-After` of a 503."""

    max_body_bytes: int
    read_timeout_seconds: float
    budget_seconds: float
    enforce_deadlines: bool = True
    retry_after_seconds: int = 1


class RerankEndpoint:
    """Reads, answers and records one request at a time."""

    def __init__(
        self,
        *,
        options: EndpointOptions,
        keys: ApiKeys,
        admission: Admission,
        reranker: Reranker,
        observers: Sequence[Observer],
        afterwards: Afterwards | None = None,
    ) -> None:
        self._options = options
        self._keys = keys
        self._admission = admission
        self._reranker = reranker
        self._observers = tuple(observers)
        self._afterwards = afterwards

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a fault of the service's own is a 500 that is logged once, never an exception."""
        try:
            answered = await self._answer(scope, receive, send)
        finally:
            if TICKET_KEY in scope:
                self._admission.leave()
        if answered is not None and self._afterwards is not None:
            self._afterwards(*answered)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Answered | None:
        call = read_call(scope)
        progress = Progress(call.arrival)
        progress.stages["lag"] = call.lag
        try:
            self._keys.check(call.header(b"authorization"))
            answered = await self._rerank(call, progress, receive, self._admit(scope))
        except ClientDisconnect:
            self._emit(call, progress, "cancelled", _CLIENT_CLOSED, None)
        except Problem as problem:
            await self._refuse(call, progress, send, problem)
        except Exception:
            _log.exception("request %s failed", call.request_id, extra=_ids(call))
            await self._refuse(call, progress, send, Problem(INTERNAL, "the log has the request id"))
        else:
            await self._send_list(call, progress, send, answered[1])
            return answered
        return None

    def shed(self, scope: Scope) -> tuple[int, Headers, bytes] | None:
        """Status, headers and body of a refusal, from nothing but the headers; None: the request may come in."""
        admitted = self._admission.admit()
        if isinstance(admitted, Ticket):
            # It counts from here on: the event loop reads many requests before it begins with the first of them.
            scope[TICKET_KEY] = admitted
            return None
        call = read_call(scope)
        problem = self._problem(admitted)
        self._emit(call, Progress(call.arrival), "rejected", problem.kind.status, problem.kind.slug)
        body = _encode(problem.document(call.request_id))
        headers = [(b"content-type", MEDIA_TYPE.encode()), *_echo(call), *_own_headers(problem)]
        return problem.kind.status, headers, body

    def _admit(self, scope: Scope) -> Ticket:
        """Admit a request, unless the HTTP protocol has done so already. Raises `Problem` (503)."""
        admitted: Ticket | RefusalReason = scope.get(TICKET_KEY) or self._admission.admit()
        if not isinstance(admitted, Ticket):
            raise self._problem(admitted)
        scope[TICKET_KEY] = admitted
        return admitted

    async def _rerank(self, call: Call, progress: Progress, receive: Receive, ticket: Ticket) -> Answered:
        check_media_type(call)
        body = await read_body(
            call, receive, limit=self._options.max_body_bytes, seconds=self._options.read_timeout_seconds
        )
        request = decode_request(body)
        call.request_id = request.request_id or call.request_id
        progress.end("decode")
        deadline = self._deadline(call, request, progress)
        response = await self._reranker.rerank(request, call.request_id, progress, deadline, call.presence)
        self._learn(ticket, progress, response, hurried=deadline.at < call.arrival + self._options.budget_seconds)
        return request, response

    async def _send_list(self, call: Call, progress: Progress, send: Send, response: RerankResponse) -> None:
        headers = [*_echo(call), (b"server-timing", _server_timing(progress))]
        if response.degraded is not None:
            why = f"{response.degraded.reason}; level={response.degraded.level}"
            headers.append((b"x-listwright-degraded", why.encode()))
        await send_bytes(send, 200, _encode(response), _JSON, headers)
        progress.end("respond")
        self._emit(call, progress, "ok" if response.degraded is None else "degraded", 200, None)

    def _deadline(self, call: Call, request: RerankRequest, progress: Progress) -> Deadline:
        wished, progress.ignored_headers = header_timeout(call.headers)
        seconds = min(self._options.budget_seconds, wished)
        if request.timeout_ms is not None:
            seconds = min(seconds, request.timeout_ms / 1e3)
        return Deadline(call.arrival + seconds, self._options.enforce_deadlines)

    def _learn(self, ticket: Ticket, progress: Progress, response: RerankResponse, *, hurried: bool) -> None:
        """Tell admission how long this request waited, and whether the model was in time; not if it was `hurried`."""
        stages = progress.stages
        # Whoever is not even queued waits for nothing, and must not make a standing queue look short.
        foreseen = stages["lag"] + progress.foreseen_wait
        if response.degraded is not None:
            self._admission.waited(max(progress.elapsed, foreseen))
        elif progress.choice == "bypass":
            self._admission.waited(foreseen)
            return  # It does not use what the window shares out.
        else:
            self._admission.waited(stages["lag"] + stages["wait"])
        if not hurried and progress.degraded != "model-error":
            self._admission.ended(ticket, late=progress.would_degrade is not None)

    def _problem(self, refusal: RefusalReason) -> Problem:
        kind, detail = _REFUSALS[refusal]
        return unavailable(kind, detail, self._options.retry_after_seconds)

    async def _refuse(self, call: Call, progress: Progress, send: Send, problem: Problem) -> None:
        status = problem.kind.status
        headers = [*_echo(call), *_own_headers(problem)]
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
            degraded=progress.degraded,
            would_degrade=progress.would_degrade,
            ignored_headers=progress.ignored_headers,
            choice=progress.choice,
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


def _own_headers(problem: Problem) -> Headers:
    return [(name.encode(), value.encode()) for name, value in problem.headers.items()]


def _ids(call: Call) -> dict[str, str | None]:
    return {"request_id": call.request_id, "trace_id": call.trace.trace_id if call.trace else None}


def _server_timing(progress: Progress) -> bytes:
    parts = [f"{stage};dur={seconds * 1e3:.3f}" for stage, seconds in progress.stages.items()]
    return ", ".join([*parts, f"total;dur={progress.elapsed * 1e3:.3f}"]).encode()
