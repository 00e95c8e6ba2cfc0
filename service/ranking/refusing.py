"""Refuse a request by its headers, for a few microseconds of CPU.

Between two refusals other work fills the processor's caches, so a refusal costs what it touches. What is the same in
every one is made once, and the rest touches as little as it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Final, NamedTuple, Protocol, get_args

import msgspec
from starlette.types import Scope

from service.access.failures import peer_of
from service.access.key import NO_KEY
from service.access.keys import ApiKeys, KeyLimit
from service.contract.problems import MEDIA_TYPE, OVERLOADED, SHED, Problem, ProblemKind, unavailable
from service.telemetry.records import NO_MODEL, RequestObserver, RequestRecord, SpanFacts, refused_outcome
from service.telemetry.spans import Tracing
from service.timing.admission import RefusalReason
from service.transport.asgi import (
    API_KEY_KEY,
    ARRIVAL_KEY,
    REQUEST_ID_FIELD,
    TRACE_FIELD,
    Trace,
    is_header_safe,
    new_id,
    parse_traceparent,
)
from service.transport.ending import STATUS_LINES
from service.transport.errors import LogRefusal
from service.transport.gate import Refusal

_encode: Final = msgspec.json.Encoder().encode
_REASONS: Final[dict[RefusalReason, tuple[ProblemKind, str]]] = {
    "overloaded": (OVERLOADED, "as many requests as allowed are in progress"),
    "shed": (SHED, "requests come in faster than they can be answered in time"),
}
_DOCUMENT_END: Final = b'""}'
"""End of a problem document whose request id, its last field, is empty."""

_MOST_LIMITS: Final = 128


class CountRefusal(Protocol):
    """Is told of each refusal."""

    def __call__(self, reason: str, seconds: float, key: str = NO_KEY) -> None:
        """Note the reason, the seconds since the arrival, and the key's name."""


class _Constant(NamedTuple):
    """Constant parts of one kind of refusal; the document ends before the request id."""

    head: bytes
    document: bytes
    kind: ProblemKind


class HeadRefusals:
    """Make the refusals of requests that are refused before their body.

    Each is told to `count` and, if given, to `log`. A record of it is made for `observers` only, if there are any, and
    for `tracing` if its trace is sampled.
    """

    def __init__(
        self,
        *,
        retry_after_seconds: int,
        count: CountRefusal,
        log: LogRefusal | None = None,
        observers: Sequence[RequestObserver] = (),
        tracing: Tracing | None = None,
    ) -> None:
        reasons = get_args(RefusalReason)
        self._constant = {reason: _constant_parts(no_place(reason, retry_after_seconds)) for reason in reasons}
        self._limits: dict[KeyLimit, _Constant] = {}
        self._count = count
        self._log = log
        self._observers = tuple(observers)
        self._tracing = tracing

    def refuse(self, reason: RefusalReason, scope: Scope) -> Refusal:
        """Return the refusal of a request for which there is no place, counted."""
        return self._refuse(self._constant[reason], scope, NO_KEY)

    def over_limit(self, keys: ApiKeys, scope: Scope) -> Refusal | None:
        """Count a request against its key's limit; refuse one that is over it."""
        authorization: bytes | None = dict(scope["headers"]).get(b"authorization")
        name = None if authorization is None else keys.find(authorization.decode("latin-1"))
        if name is None:  # The handler refuses it, and counts that.
            return None
        limit = keys.take(name)
        if limit is not None:
            return self._limit(limit, scope)
        scope[API_KEY_KEY] = name
        return None

    def _limit(self, limit: KeyLimit, scope: Scope) -> Refusal:
        constant = self._limits.get(limit)
        if constant is None:
            if len(self._limits) >= _MOST_LIMITS:  # Limits of keys that are gone stay until then.
                self._limits.clear()
            constant = self._limits[limit] = _constant_parts(limit.problem())
        return self._refuse(constant, scope, limit.key)

    def _refuse(self, constant: _Constant, scope: Scope, key: str) -> Refusal:
        asked = traced = None
        for name, value in scope["headers"]:
            if name == REQUEST_ID_FIELD:
                asked = value.decode("latin-1")
            elif name == TRACE_FIELD:
                traced = value.decode("latin-1")
        request_id = asked if asked is not None and is_header_safe(asked) else new_id()
        head, document, kind = constant
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
        self._count(kind.slug, seconds, key)
        peer = peer_of(scope)
        if self._log is not None:
            trace_id = None if trace is None else trace.trace_id
            self._log(peer, key, kind.slug, kind.status, request_id, trace_id)
        spans = None
        if self._tracing is not None and trace is not None and trace.sampled:
            spans = SpanFacts(trace, arrival, ())
        if self._observers or spans is not None:
            self._observe(request_id, trace, kind, seconds, key, peer, spans)
        return refusal

    def _observe(
        self,
        request_id: str,
        trace: Trace | None,
        kind: ProblemKind,
        seconds: float,
        key: str,
        peer: str,
        spans: SpanFacts | None,
    ) -> None:
        record = RequestRecord(
            request_id=request_id,
            trace_id=None if trace is None else trace.trace_id,
            outcome=refused_outcome(kind.status),
            status=kind.status,
            seconds=seconds,
            reason=kind.slug,
            model=NO_MODEL,
            version=NO_MODEL,
            stages={"lag": seconds},
            candidates=0,
            batch_size=0,
            health=None,
            key=key,
            span_id=None if trace is None else trace.span_id,
            peer=peer,
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


def _constant_parts(problem: Problem) -> _Constant:
    """Render what does not depend on the request."""
    fields = {"content-type": MEDIA_TYPE, **problem.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    document = _encode(problem.document(""))
    assert document.endswith(_DOCUMENT_END)
    head = STATUS_LINES[problem.kind.status] + lines.encode()
    return _Constant(head, document.removesuffix(_DOCUMENT_END), problem.kind)
