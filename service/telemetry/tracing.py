"""Export the spans of requests with OpenTelemetry: the only module that knows the SDK.

Spans are made from the record of a request once it has been answered. They are built as the SDK's tracer builds them in
the end (`ReadableSpan`): for the nine spans of a request that takes 20 µs, and the tracer's own way takes 340 µs. The
SDK's batch processor sends them in a thread of its own. Conventions: https://opentelemetry.io/docs/specs/semconv/http/.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from time import perf_counter, time_ns
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from models.contract.serving import BATCH_PATH, RERANK_PATH
from service.options.telemetry import TRACES_PATH
from service.telemetry.records import Lap, RequestOutcome, RequestRecord, ShadowRecord, SpanFacts
from service.telemetry.spans import CountSpans
from service.timing.limiter import LogLimiter, left_out
from service.transport.asgi import Trace, new_trace

_log = logging.getLogger(__name__)
_QUEUED_SPANS: Final = 4096
_SPANS_AT_ONCE: Final = 64
"""Spans in one export. The SDK encodes them while it holds the interpreter's lock, these in 2 ms."""

_EXPORT_EVERY_MS: Final = 1000
_CLOSE_SECONDS: Final = 1.0
_RUNS_KNOWN: Final = 64
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_FINE: Final = Status()
_FAULTS: Final = range(500, 600)
"""Statuses that make a server's span one with an error; those of the 400s are the client's."""

_NOTHING: Final[Mapping[str, AttributeValue]] = {}
_EXPORTER_LOGGER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

Attributes = dict[str, AttributeValue]


class _CountingExporter(SpanExporter):
    """Count what another exporter does; used by one thread."""

    def __init__(self, exporter: SpanExporter, count: CountSpans) -> None:
        self._exporter = exporter
        self._count = count
        self._closed = False
        self.taken = 0  # Spans that have left the queue.
        self.settled = 0  # Those that were exported or have failed.

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        if self._closed:  # The SDK's own would write a line for each.
            return result
        try:
            result = self._exporter.export(spans)
        finally:
            if not self._closed:  # Else they have been given up, and counted.
                self._count("exported" if result is SpanExportResult.SUCCESS else "failed", len(spans))
                self.settled += len(spans)
        return result

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()


class _WallClock:
    """Turn times on `perf_counter`'s clock into nanoseconds since 1970.

    The difference between both is read once a second, so that the spans of a request fit together.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._offset = 0

    def read(self, seconds: float) -> int:
        now = perf_counter()
        if now >= self._until:
            self._until = now + 1
            self._offset = time_ns() - int(now * 1e9)
        return int(seconds * 1e9) + self._offset


class _FewLines(logging.Filter):
    """Let one line of each kind through in a minute.

    The exporter writes some for every batch that fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self._limiter = LogLimiter()

    def filter(self, record: logging.LogRecord) -> bool:
        suppressed = self._limiter.ready(record.msg)
        if suppressed:
            record.msg = f"{record.msg}{left_out(suppressed)}"
        return suppressed is not None


class OtlpTracing:
    """Be the `Tracing` of a process: send spans to the collector at `endpoint`.

    A `share` of the requests without a trace begins one. At most `queued` spans wait; those of further requests are
    dropped. Used from the event loop only.
    """

    def __init__(self, endpoint: str, share: float, count: CountSpans, *, queued: int = _QUEUED_SPANS) -> None:
        self._share = share
        self._count = count
        self._most = queued
        self._handed = 0
        self._clock = _WallClock()
        self._resource = describe_process()
        self._scope = InstrumentationScope("listwright", version("listwright"))
        self._runs: OrderedDict[float, SpanContext] = OrderedDict()
        self._filter = _FewLines()
        logging.getLogger(_EXPORTER_LOGGER).addFilter(self._filter)
        # What is not given is taken from OTEL_EXPORTER_OTLP_* variables: headers, certificates, compression, timeout.
        self._exporter = _CountingExporter(OTLPSpanExporter(endpoint + TRACES_PATH), count)
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=queued,
            schedule_delay_millis=_EXPORT_EVERY_MS,
            max_export_batch_size=min(queued, _SPANS_AT_ONCE),
        )

    def begin(self) -> Trace | None:
        return new_trace() if random.random() < self._share else None

    def observe(self, record: RequestRecord) -> None:
        if record.spans is not None:
            self._export_request(record, record.spans, f"POST {RERANK_PATH}", _served(record, RERANK_PATH))

    def observe_part(self, record: RequestRecord) -> None:
        if record.spans is not None:
            self._export_request(record, record.spans, "rerank", {}, SpanKind.INTERNAL)

    def observe_batch(self, record: RequestRecord, requests: Mapping[RequestOutcome, int]) -> None:
        if record.spans is not None:
            attributes = {**_served(record, BATCH_PATH), "listwright.requests": sum(requests.values())}
            self._export_request(record, record.spans, f"POST {BATCH_PATH}", attributes)

    def observe_shadow(self, record: ShadowRecord, of: SpanFacts, began: float) -> None:
        if not self._has_room(1):
            return
        attributes: Attributes = {
            "listwright.model": record.model,
            "listwright.version": record.version,
            "listwright.shadow.outcome": record.outcome,
        }
        if record.tau is not None:
            attributes["listwright.shadow.kendall_tau"] = record.tau
        status = Status(StatusCode.ERROR) if record.outcome == "failed" else _FINE
        context = _context(random.getrandbits(128), random.getrandbits(64))
        links = [Link(_context(int(of.trace.trace_id, 16), int(of.trace.span_id, 16)))]
        self._send("shadow", context, None, (began, perf_counter()), attributes, status=status, links=links)

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Send what waits, and give it up after so many seconds.

        No thread keeps the process from its end.
        """
        closing = threading.Thread(target=self._processor.shutdown, name="trace-flush", daemon=True)
        closing.start()
        closing.join(seconds)
        self._exporter.shutdown()
        if left := self._handed - self._exporter.settled:
            self._count("dropped", left)
            _log.warning("stopping without %d spans that the collector has not taken in %g s", left, seconds)
        logging.getLogger(_EXPORTER_LOGGER).removeFilter(self._filter)

    def _export_request(
        self,
        record: RequestRecord,
        facts: SpanFacts,
        name: str,
        attributes: Attributes,
        kind: SpanKind = SpanKind.SERVER,
    ) -> None:
        """Export spans of a request, of each lap below it, and of a shared run."""
        shared = next((lap for lap in facts.laps if lap.stage == "infer" and record.batch_size > 1), None)
        new_run = shared is not None and shared.start not in self._runs
        if not self._has_room(1 + len(facts.laps) + new_run):
            return
        trace = facts.trace
        trace_id = int(trace.trace_id, 16)
        context = _context(trace_id, int(trace.span_id, 16))
        remote = kind is SpanKind.SERVER
        parent = _context(trace_id, int(trace.parent_id, 16), remote=remote) if trace.parent_id else None
        status = Status(StatusCode.ERROR, record.reason) if record.status in _FAULTS else _FINE
        times = facts.arrival, facts.arrival + record.seconds
        self._send(name, context, parent, times, attributes | _described(record), kind=kind, status=status)
        for lap in facts.laps:
            links = [Link(self._run(record, lap, context))] if lap is shared else ()
            own = _context(trace_id, random.getrandbits(64))
            self._send(lap.stage, own, context, (lap.start, lap.end), _NOTHING, links=links)

    def _run(self, record: RequestRecord, lap: Lap, of: SpanContext) -> SpanContext:
        """Return the span of a run for several requests; the first of them exports it."""
        known = self._runs.get(lap.start)
        if known is not None:
            return known
        context = self._runs[lap.start] = _context(random.getrandbits(128), random.getrandbits(64))
        if len(self._runs) > _RUNS_KNOWN:
            self._runs.popitem(last=False)
        attributes: Attributes = {
            "listwright.model": record.model,
            "listwright.version": record.version,
            "listwright.batch_size": record.batch_size,
        }
        self._send("run", context, None, (lap.start, lap.end), attributes, links=[Link(of)])
        return context

    def _has_room(self, spans: int) -> bool:
        """Tell whether so many more spans may wait; count them as dropped if not.

        The queue of the SDK would drop others without counting them.
        """
        if self._handed - self._exporter.taken + spans <= self._most:
            return True
        self._count("dropped", spans)
        return False

    def _send(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        times: tuple[float, float],
        attributes: Mapping[str, AttributeValue],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        status: Status = _FINE,
        links: Sequence[Link] = (),
    ) -> None:
        """Hand one span to the exporter's thread."""
        self._handed += 1
        self._processor.on_end(
            ReadableSpan(
                name,
                context,
                parent,
                self._resource,
                attributes,
                links=links,
                kind=kind,
                status=status,
                start_time=self._clock.read(times[0]),
                end_time=self._clock.read(times[1]),
                instrumentation_scope=self._scope,
            )
        )


def describe_process() -> Resource:
    """Describe this process; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win."""
    own: Attributes = {
        "service.name": "listwright",
        "service.version": version("listwright"),
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
    }
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})


def _context(trace_id: int, span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, remote, _SAMPLED)


def _served(record: RequestRecord, path: str) -> Attributes:
    """Return the attributes that every server of HTTP gives its spans."""
    found: Attributes = {
        "http.request.method": "POST",
        "http.route": path,
        "url.path": path,
        "url.scheme": "http",
    }
    if record.outcome != "cancelled":  # Nothing was answered then.
        found["http.response.status_code"] = record.status
    return found


def _described(record: RequestRecord) -> Attributes:
    """Return the attributes of a request; nothing in them is of its user."""
    found: Attributes = {
        "listwright.request_id": record.request_id,
        "listwright.outcome": record.outcome,
        "listwright.model": record.model,
        "listwright.version": record.version,
        "listwright.scene": record.scene,
        "listwright.key": record.key,
        "listwright.candidates": record.candidates,
        "listwright.batch_size": record.batch_size,
    }
    more = {
        "listwright.choice": record.choice,
        "listwright.degraded": record.degraded,
        "listwright.would_degrade": record.would_degrade,
        "error.type": record.reason,
    }
    return found | {name: value for name, value in more.items() if value is not None}
