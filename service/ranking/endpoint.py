"""Answer `POST /v1/rerank` as a bare ASGI endpoint, without dependency machinery.

Every request ends in exactly one `RequestRecord`. One that is refused for overload is refused by `shed`, which the HTTP
protocol asks as soon as it has read the headers: no task, no body, no decoding. A request counts as one in progress
once its body is whole, so that slow clients take no place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.access.keys import ApiKeys
from service.contract.cost import most_fields
from service.contract.decoding import decode_request
from service.contract.problems import INTERNAL, Problem
from service.contract.schemas import RerankRequest, RerankResponse
from service.ranking.exchange import Exchange, echo, send_problem, server_timing
from service.ranking.faults import FaultLog
from service.ranking.refusing import HeadRefusals, no_place
from service.ranking.rerank import Reranked, Reranker
from service.scenes.scene import NO_SCENE
from service.telemetry.records import (
    RequestObserver,
    RequestRecord,
    SpanFacts,
    Stopwatch,
)
from service.telemetry.spans import Tracing
from service.timing.admission import Admission, RefusalReason, Ticket
from service.timing.deadline import Deadline, header_timeout, is_close
from service.transport.asgi import (
    ANSWERED_KEY,
    API_KEY_KEY,
    TICKET_KEY,
    check_media_type,
    read_body,
    send_bytes,
)
from service.transport.compression import content_coding, decompress
from service.transport.gate import Refusal

_encode: Final = msgspec.json.Encoder().encode
_JSON: Final = b"application/json"

Answered = tuple[RerankRequest, RerankResponse, SpanFacts | None]
Afterwards = Callable[[RerankRequest, RerankResponse, SpanFacts | None], None]
"""Told of a list once it has been sent, and of its trace if that is exported; may not raise."""


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Options of one request: limits in bytes and seconds, and `Retry-After` of a 503."""

    max_body_bytes: int
    read_timeout_seconds: float
    budget_seconds: float
    enforce_deadlines: bool = True
    retry_after_seconds: int = 1


class RerankEndpoint:
    """Read, answer and record requests.

    Missing `refusals`, none is refused by its headers. Those tell observers of their own. `tracing` says which requests
    without a trace begin one; None: no trace is exported.
    """

    def __init__(
        self,
        *,
        options: EndpointOptions,
        keys: ApiKeys,
        admission: Admission,
        reranker: Reranker,
        observers: Sequence[RequestObserver],
        refusals: HeadRefusals | None = None,
        afterwards: Afterwards | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._options = options
        self._most_fields = most_fields(options.max_body_bytes)
        self._keys = keys
        self._admission = admission
        self._reranker = reranker
        self._observers = tuple(observers) if tracing is None else (*observers, tracing.observe)
        self._tracing = tracing
        self._refusals = refusals
        self._afterwards = afterwards
        self._faults = FaultLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; log a fault of the service's own once, as a 500."""
        try:
            answered = await self._answer(scope, receive, send)
        finally:
            if TICKET_KEY in scope:
                self._admission.leave()
        if answered is not None and self._afterwards is not None:
            self._afterwards(*answered)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Answered | None:
        """Send a list or a problem, and emit the record; return a list."""
        exchange = Exchange.begin(scope, self._tracing)
        try:
            self._identify(exchange, scope)
            answered = await self._rerank(exchange, scope, receive)
        except ClientDisconnect:
            self._emit(exchange.left(scope))
        except Problem as problem:
            await self._refuse(exchange, send, scope.get(ANSWERED_KEY, problem))
        except Exception as error:
            self._faults.add(f"request {exchange.call.request_id}", error, exchange.log_ids)
            await self._refuse(exchange, send, Problem(INTERNAL, "the log has the request id"))
        else:
            await self._send_list(exchange, send, answered[1])
            return answered
        return None

    def shed(self, scope: Scope) -> Refusal | None:
        """Return the refusal of a request by its headers; None: it may send its body."""
        if self._refusals is None:
            return None
        reason = self._admission.judge()
        if reason is not None:
            return self._refusals.refuse(reason, scope)
        return self._refusals.over_limit(self._keys, scope) if self._keys.are_limited else None

    def _identify(self, exchange: Exchange, scope: Scope) -> None:
        """Note the key of a request. Raises `Problem` (401, 429) unless it opens the service."""
        name = scope.get(API_KEY_KEY)
        if name is not None:
            exchange.key = name
            return
        name = self._keys.check(exchange.call.header(b"authorization"), exchange.call.peer)
        if name is not None:
            exchange.key = name
            if (limit := self._keys.take(name)) is not None:
                raise limit.problem()

    def enter(self, scope: Scope) -> None:
        """Count a request whose body is whole, if there is still room.

        The HTTP protocol says so: the event loop reads many requests before it begins with the first of them.
        """
        admitted = self._admission.admit()
        if isinstance(admitted, Ticket):
            scope[TICKET_KEY] = admitted

    def _admit(self, scope: Scope) -> Ticket:
        """Admit a request that is whole, unless `enter` has done so already. Raises `Problem` (503)."""
        admitted: Ticket | RefusalReason = scope.get(TICKET_KEY) or self._admission.admit()
        if not isinstance(admitted, Ticket):
            raise no_place(admitted, self._options.retry_after_seconds)
        scope[TICKET_KEY] = admitted
        return admitted

    async def _rerank(self, exchange: Exchange, scope: Scope, receive: Receive) -> Answered:
        """Read, decode and answer, noting in `exchange` everything found."""
        call, clock, options = exchange.call, exchange.clock, self._options
        check_media_type(call)
        coding = content_coding(call)
        body = await read_body(call, receive, limit=options.max_body_bytes, seconds=options.read_timeout_seconds)
        ticket = self._admit(scope)
        if coding is not None:
            body = await decompress(body, coding, options.max_body_bytes)
        exchange.request = request = decode_request(body, most_fields=self._most_fields)
        call.request_id = request.request_id or call.request_id
        request, inherited = self._reranker.merge(request)
        exchange.scene = inherited.scene or NO_SCENE
        clock.lap("decode")
        wished, exchange.ignored_headers = header_timeout(call.headers)
        deadline = self._deadline(call.arrival, request, wished)
        exchange.model = model = self._reranker.select(request)
        exchange.reranked = reranked = await self._reranker.rerank(
            request,
            model,
            clock,
            request_id=call.request_id,
            deadline=deadline,
            presence=call.presence,
            inherited=inherited,
        )
        hurried = deadline.at < call.arrival + options.budget_seconds
        self._learn(ticket, clock, reranked, None if hurried else deadline)
        return request, reranked.response, exchange.spans

    async def _send_list(self, exchange: Exchange, send: Send, response: RerankResponse) -> None:
        headers = [*echo(exchange.call), (b"server-timing", server_timing(exchange.clock))]
        if response.degraded is not None:
            why = f"{response.degraded.reason}; level={response.degraded.level}"
            headers.append((b"x-listwright-degraded", why.encode()))
        await send_bytes(send, 200, _encode(response), _JSON, headers)
        exchange.clock.lap("respond")
        self._emit(exchange.record("ok" if response.degraded is None else "degraded", 200, None))

    def _deadline(self, arrival: float, request: RerankRequest, wished: float) -> Deadline:
        seconds = min(self._options.budget_seconds, wished)
        if request.timeout_ms is not None:
            seconds = min(seconds, request.timeout_ms / 1e3)
        return Deadline(arrival + seconds, self._options.enforce_deadlines)

    def _learn(self, ticket: Ticket, clock: Stopwatch, reranked: Reranked, deadline: Deadline | None) -> None:
        """Tell admission the wait and, given a deadline, if the model was in time."""
        stages, degraded = clock.stages, reranked.response.degraded
        # A request that is not even queued waits for nothing, and must not make a standing queue look short.
        foreseen = stages["lag"] + reranked.foreseen_wait
        if degraded is not None:
            self._admission.waited(max(clock.elapsed, foreseen))
        elif reranked.listing.choice == "bypass":
            self._admission.waited(foreseen)
            return  # It takes no place in the window.
        else:
            self._admission.waited(stages["lag"] + stages["wait"])
        if deadline is not None and (degraded is None or degraded.reason != "model-error"):
            self._admission.ended(ticket, late=reranked.would_degrade is not None or is_close(deadline))

    async def _refuse(self, exchange: Exchange, send: Send, problem: Problem) -> None:
        await send_problem(send, exchange.call, problem)
        self._emit(exchange.refused(problem))

    def _emit(self, record: RequestRecord) -> None:
        for observe in self._observers:
            observe(record)
