"""Hold the facts of one request while it is answered; make its record and headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import msgspec
from starlette.types import Scope, Send

from service.access.key import NO_KEY
from service.bundles.model import Model
from service.contract.problems import MEDIA_TYPE, Problem
from service.contract.schemas import RerankRequest
from service.ranking.rerank import Reranked
from service.scenes.scene import NO_SCENE
from service.telemetry.records import (
    NO_MODEL,
    RequestOutcome,
    RequestRecord,
    SpanFacts,
    Stopwatch,
    refused_outcome,
)
from service.telemetry.spans import SpanStopwatch, Tracing
from service.transport.asgi import (
    ANSWERED_KEY,
    Call,
    is_header_safe,
    read_call,
    send_bytes,
)

CLIENT_CLOSED: Final = 499
_encode: Final = msgspec.json.Encoder().encode

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Exchange:
    """Everything known so far of one request; only the endpoint that answers it writes here."""

    call: Call
    clock: Stopwatch
    request: RerankRequest | None = None
    model: Model | None = None
    ignored_headers: tuple[str, ...] = ()
    reranked: Reranked | None = None
    scene: str = NO_SCENE
    key: str = NO_KEY
    batch_id: str | None = None
    spans: SpanFacts | None = None

    @classmethod
    def begin(cls, scope: Scope, tracing: Tracing | None = None) -> Self:
        """Read the headers and start the clock; `tracing` may begin a trace."""
        call = read_call(scope)
        if tracing is None:
            return cls(call, Stopwatch(call.arrival, call.lag))
        if call.trace is None:
            call.trace = tracing.begin()
        return cls.traced(call)

    @classmethod
    def traced(cls, call: Call) -> Self:
        """Start the clock, which also notes laps if the trace of the call is sampled."""
        trace = call.trace
        if trace is None or not trace.sampled:
            return cls(call, Stopwatch(call.arrival, call.lag))
        clock = SpanStopwatch(call.arrival, call.lag)
        facts = SpanFacts(trace, call.arrival, clock.laps)
        return cls(call, clock, spans=facts)

    @property
    def trace_id(self) -> str | None:
        """The id of the request's trace, if it has one."""
        return self.call.trace.trace_id if self.call.trace else None

    @property
    def log_ids(self) -> dict[str, str | None]:
        """The fields of a log line by which the request is found again."""
        return {"request_id": self.call.request_id, "trace_id": self.trace_id}

    def refused(self, problem: Problem) -> RequestRecord:
        """Make the record of a request that is answered with a problem."""
        status = problem.kind.status
        return self.record(refused_outcome(status), status, problem.kind.slug)

    def left(self, scope: Scope) -> RequestRecord:
        """Make the record of a request whose body ends early.

        Its client has left, or the HTTP protocol has answered it.
        """
        answered: Problem | None = scope.get(ANSWERED_KEY)
        return self.record("cancelled", CLIENT_CLOSED, None) if answered is None else self.refused(answered)

    def record(self, outcome: RequestOutcome, status: int, reason: str | None) -> RequestRecord:
        """Make the record of a request that has ended like this."""
        call, clock, model, reranked = self.call, self.clock, self.model, self.reranked
        degraded = None if reranked is None else reranked.response.degraded
        return RequestRecord(
            request_id=call.request_id,
            trace_id=self.trace_id,
            outcome=outcome,
            status=status,
            seconds=clock.elapsed,
            reason=reason,
            model=NO_MODEL if model is None else model.name,
            version=NO_MODEL if model is None else model.version,
            stages=clock.stages,
            candidates=0 if self.request is None else self.request.candidate_count,
            batch_size=0 if reranked is None else reranked.batch_size,
            health=None if reranked is None else reranked.health(),
            degraded=None if degraded is None else degraded.reason,
            would_degrade=None if reranked is None else reranked.would_degrade,
            ignored_headers=self.ignored_headers,
            choice=None if reranked is None else reranked.listing.choice,
            fields=None if reranked is None else reranked.fields,
            scene=self.scene,
            ignored_pins=0 if reranked is None else reranked.ignored_pins,
            items=None if reranked is None else reranked.items,
            key=self.key,
            level=None if degraded is None else degraded.level,
            span_id=call.trace.span_id if call.trace else None,
            peer=call.peer,
            batch_id=self.batch_id,
            spans=self.spans,
        )


async def send_problem(send: Send, call: Call, problem: Problem) -> None:
    """Answer a request with a problem."""
    body = _encode(problem.document(call.request_id))
    await send_bytes(send, problem.kind.status, body, MEDIA_TYPE.encode(), [*echo(call), *own_headers(problem)])


def echo(call: Call) -> Headers:
    """Return the headers that name a request and its trace in the answer."""
    headers: Headers = []
    if is_header_safe(call.request_id):
        headers.append((b"x-request-id", call.request_id.encode()))
    if call.trace is not None:
        headers.append((b"traceparent", call.trace.header.encode()))
    return headers


def own_headers(problem: Problem) -> Headers:
    """Return the headers that a problem brings with it."""
    return [(name.encode(), value.encode()) for name, value in problem.headers.items()]


def server_timing(clock: Stopwatch) -> bytes:
    """Return the value of `Server-Timing`, in milliseconds."""
    parts = [f"{stage};dur={seconds * 1e3:.3f}" for stage, seconds in clock.stages.items()]
    return ", ".join([*parts, f"total;dur={clock.elapsed * 1e3:.3f}"]).encode()
