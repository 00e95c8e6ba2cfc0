"""Refuse a request by its headers, for a few microseconds of CPU.

Between two refusals other work fills the processor's caches, so a refusal costs what it touches. What is the same in
every one is made once, and the rest touches as little as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, get_args

import msgspec
from starlette.types import Scope

from service.contract.problems import MEDIA_TYPE, OVERLOADED, SHED, Problem, ProblemKind, unavailable
from service.telemetry.records import NO_MODEL, RequestObserver, RequestRecord, SpanFacts
from service.telemetry.spans import Tracing
from service.timing.admission import RefusalReason
from service.transport.asgi import (
    ARRIVAL_KEY,
    REQUEST_ID_FIELD,
    TRACE_FIELD,
    Trace,
    is_header_safe,
    new_id,
    parse_traceparent,
)
from service.transport.ending import STATUS_LINES
from service.transport.gate import Refusal

_encode: Final = msgspec.json.Encoder().encode
_REASONS: Final[dict[RefusalReason, tuple[ProblemKind, str]]] = {
    "overloaded": (OVERLOADED, "as many requests as allowed are in progress"),
    "shed": (SHED, "requests come in faster than they can be answered in time"),
}
_DOCUMENT_END: Final = b'""}'
"""End of a problem document whose request id, its last field, is empty."""

CountRefusal = Callable[[str, float], None]
"""Told the reason of each refusal, and the seconds since its arrival."""


class HeadRefusals:
    """Make the refusals of requests that are refused before their body.

    Each is told to `count`. A record of it is made for `observers` only, if there are any, and for `tracing` if its
    trace is sampled.
    """

    def __init__(
        self,
        *,
        retry_after_seconds: int,
        count: CountRefusal,
        observers: Sequence[RequestObserver] = (),
        tracing: Tracing | None = None,
    ) -> None:
        reasons = get_args(RefusalReason)
        self._constant = {reason: _constant_parts(no_place(reason, retry_after_seconds)) for reason in reasons}
        self._count = count
        self._observers = tuple(observers)
        self._tracing = tracing

    def refuse(self, reason: RefusalReason, scope: Scope) -> Refusal:
        """Return the refusal of a request, counted."""
        asked = traced = None
        for name, value in scope["headers"]:
            if name == REQUEST_ID_FIELD:
                asked = value.decode("latin-1")
            elif name == TRACE_FIELD:
                traced = value.decode("latin-1")
        request_id = asked if asked is not None and is_header_safe(asked) else new_id()
        head, document = self._constant[reason]
        head = b"%bx-request-id: %b\r\n" % (head, request_id.encode())
        trace = parse_traceparent(traced)
        if trace is None and self._tracing is not None:
            trace = self._tracing.begin()
        if trace is not None:
            head = b"%btraceparent: %b\r\n" % (head, trace.header.encode())
        # A safe id may still hold what JSON escapes.
        refusal = head, b"%b%b}" % (document, _encode(request_id))
        arrival = scope[ARRIVAL_KEY]
        seconds = perf_counter() - arrival
        self._count(reason, seconds)
        spans = None
        if self._tracing is not None and trace is not None and trace.sampled:
            spans = SpanFacts(trace.trace_id, trace.span_id, trace.parent_id, arrival, ())
        if self._observers or spans is not None:
            self._observe(request_id, trace, reason, seconds, spans)
        return refusal

    def _observe(
        self, request_id: str, trace: Trace | None, reason: RefusalReason, seconds: float, spans: SpanFacts | None
    ) -> None:
        kind, _ = _REASONS[reason]
        record = RequestRecord(
            request_id=request_id,
            trace_id=None if trace is None else trace.trace_id,
            outcome="rejected",
            status=kind.status,
            seconds=seconds,
            reason=kind.slug,
            model=NO_MODEL,
            version=NO_MODEL,
            stages={"lag": seconds},
            candidates=0,
            batch_size=0,
            health=None,
            spans=spans,
        )
        for observe in self._observers:
            observe(record)
        if self._tracing is not None:
            self._tracing.observe(record)


def no_place(reason: RefusalReason, retry_after_seconds: int) -> Problem:
    """Make the 503 of a request that admission has refused."""
    kind, detail = _REASONS[reason]
    return unavailable(kind, detail, retry_after_seconds)


def _constant_parts(problem: Problem) -> tuple[bytes, bytes]:
    """Return the head, and the document up to the request id."""
    fields = {"content-type": MEDIA_TYPE, **problem.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    document = _encode(problem.document(""))
    assert document.endswith(_DOCUMENT_END)
    return STATUS_LINES[problem.kind.status] + lines.encode(), document.removesuffix(_DOCUMENT_END)
