"""A collector of traces on a free port of 127.0.0.1: it takes OTLP over HTTP, and can be slow, refuse or be away."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.telemetry.spans import SPAN_RESULTS, SpanResult
from tests.service.live import HOST, WAIT_SECONDS, Live

pb2 = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    reason="needs the extra otel: pip install '.[otel]'",
)


@dataclass(frozen=True)
class Span:
    """A span as the collector has it; ids are in hexadecimal digits, times in nanoseconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start: int
    end: int
    error: bool
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...]
    resource: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / 1e9


class Collector:
    """What has come; `status` is answered to every export, and `hold` keeps answers back until it is set."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: set[str] = set()
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def wait_for(self, condition: Callable[[list[Span]], object]) -> list[Span]:
        """The spans, once the condition holds for them."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition(self.spans):
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.01)
        return list(self.spans)

    def trace(self, trace_id: str, spans: int = 1) -> list[Span]:
        """The spans of one trace in the order of their beginning, once so many have come."""

        def of(found: list[Span]) -> list[Span]:
            return [span for span in found if span.trace_id == trace_id]

        return sorted(of(self.wait_for(lambda found: len(of(found)) >= spans)), key=lambda span: span.start)


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.hold.wait(WAIT_SECONDS)
            if collector.status == 200:
                collector.headers.append(dict(self.headers))
                collector.paths.add(self.path)
                collector.spans += read_spans(body)
            answer = pb2.ExportTraceServiceResponse().SerializeToString()
            with contextlib.suppress(OSError):  # Whoever asked may have given up.
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            del arguments

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:
            del arguments  # The exporter ends its connection when the service ends.

    with Server((HOST, 0), Handler) as server:
        collector.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield collector
        finally:
            collector.hold.set()
            server.shutdown()
            thread.join()


def nobody() -> str:
    """The address of a collector that is down."""
    with socket.create_server((HOST, 0)) as sock:
        return f"http://{HOST}:{sock.getsockname()[1]}"


def spans_total(live: Live) -> dict[SpanResult, float]:
    """What a service has counted, by result."""
    return {result: live.series("rerank_spans_total", result=result) or 0 for result in SPAN_RESULTS}


def read_spans(body: bytes) -> list[Span]:
    """Read the body of an export."""
    sent = pb2.ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            kind=span.kind,
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            error=span.status.code == 2,
            attributes=_read(span.attributes),
            links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
            resource=_read(of_resource.resource.attributes),
        )
        for of_resource in sent.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _read(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}
