"""Send what HTTP forbids, allows but nobody expects, or sets no limit to."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Final

from loadtest.resilience.chaos.harness import UNSHED, Service, payloads, serve
from loadtest.resilience.chaos.scenario import Scenario, Trial
from loadtest.resilience.chaos.watch import LIVE
from loadtest.resilience.chaos.wire import CLOSED, Reply, Wire, ask, head, send_apart
from loadtest.rig.server import RELOAD_TIMEOUT
from models.contract.serving import RERANK_PATH

_MIB: Final = 2**20
_JSON: Final = "Content-Type: application/json"
_FLOOD_BYTES: Final = 100 * _MIB
_REFUSED_HEADS: Final = (431, 414, 400, CLOSED)


def _body() -> bytes:
    body = json.loads(payloads(count=1)[0].body)
    return json.dumps({**body, "timeout_ms": 5000}).encode()


def _post(*fields: str, path: str = RERANK_PATH, version: str = "1.1", host: str = "127.0.0.1") -> bytes:
    return head("POST", path, _JSON, *fields, version=version, host=host)


def _chunked(body: bytes) -> bytes:
    half = len(body) // 2
    parts = (body[:half], body[half:])
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def upgrade(trial: Trial) -> None:
    """Ask for other protocols with a body, in one packet and in several."""
    body = _body()
    sized = f"Content-Length: {len(body)}"
    with serve(trial, *UNSHED) as service:
        service.fault()
        for token in ("h2c", "websocket", "TLS/1.0"):
            fields = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {token}", "HTTP2-Settings: AAMAAABkAAQAAP__")
            whole = _post(*fields, sized)
            trial.equal(f"{token}, in one packet", 200, ask(service.port, whole + body).status)
            trial.equal(f"{token}, body in a later packet", 200, ask(service.port, whole, body).status)
            chunks = _post(*fields, "Transfer-Encoding: chunked")
            trial.equal(f"{token}, in chunks", 200, ask(service.port, chunks, _chunked(body)).status)
            with Wire(service.port) as wire:
                send_apart(wire, (whole + body + LIVE,))
                trial.equal(f"{token}, pipelined", (200, 200), (wire.reply().status, wire.reply().status))
        order = b'{"model": "demo"}'
        fields = ("Connection: Upgrade", "Upgrade: h2c", f"Content-Length: {len(order)}")
        found = ask(service.admin_port, _post(*fields, path="/admin/v1/reload"), order, timeout=RELOAD_TIMEOUT)
        trial.equal("h2c at the admin port", 200, found.status)
        connect = ask(service.port, b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n")
        trial.one_of("CONNECT", (CLOSED, 400, 404, 405, 501), connect.status)


def framing(trial: Trial) -> None:
    """Send requests whose framing or host is wrong, and some that only look wrong."""
    body = _body()
    sized = f"Content-Length: {len(body)}"
    with serve(trial, *UNSHED) as service:
        service.fault()
        public = {
            "no Host": (400, _post(sized, host="") + body),
            "two lengths": (400, _post(sized, "Content-Length: 3") + body),
            "length and chunks": (400, _post(sized, "Transfer-Encoding: chunked") + _chunked(body)),
            "gzip, chunked": (501, _post("Transfer-Encoding: gzip, chunked") + _chunked(body)),
            "chunks in HTTP/1.0": (400, _post("Transfer-Encoding: chunked", version="1.0") + _chunked(body)),
            "Content-Encoding: IDENTITY": (200, _post(sized, "Content-Encoding: IDENTITY") + body),
            "cut JSON": (400, _post("Content-Length: 5") + b'{"a":'),
            "a slash too many": (404, _post(sized, path=f"{RERANK_PATH}/") + body),
        }
        for name, (status, message) in public.items():
            found = ask(service.port, message)
            trial.expect(name, str(status), found, found.status == status)
        foreign = head("GET", "/admin/v1/models", host="evil.example")
        trial.equal("a foreign Host at the admin port", 421, ask(service.admin_port, foreign).status)
        trial.equal(
            "no Host at the admin port", 400, ask(service.admin_port, head("GET", "/admin/v1/models", host="")).status
        )


def head_flood(trial: Trial) -> None:
    """Send 100 MB of header lines, a request line of 1 MB, and 101 fields."""
    with serve(trial) as service:
        service.fault()
        line = b"X-Filler: " + b"a" * 4000 + b"\r\n"
        trial.one_of("100 MB of header lines", _REFUSED_HEADS, _flood(service, LIVE[:-2], line).status)
        long = b"GET /" + b"a" * _MIB + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        trial.one_of("a request line of 1 MB", _REFUSED_HEADS, ask(service.port, long).status)
        many = head("GET", "/v2/health/live", *(f"X-{n}: 1" for n in range(101)))
        trial.one_of("102 fields", (431,), ask(service.port, many).status)
        few = head("GET", "/v2/health/live", *(f"X-{n}: 1" for n in range(90)))
        trial.equal("91 fields", 200, ask(service.port, few).status)


def _flood(service: Service, begin: bytes, line: bytes, total: int = _FLOOD_BYTES) -> Reply:
    """Send a beginning, then one line again and again, up to `total` bytes."""
    piece = line * (_MIB // len(line))
    with Wire(service.port) as wire:
        going, sent = wire.send(begin), 0
        while going and sent < total:
            going = wire.send(piece)
            sent += len(piece)
        wire.socket.settimeout(2.0)
        return wire.reply()


def trailers(trial: Trial) -> None:
    """Send a request with 300,000 trailer fields."""
    body = _body()
    begin = _post("Transfer-Encoding: chunked") + _chunked(body)[:-2]
    with serve(trial, *UNSHED) as service:
        service.fault()
        flood = begin + b"".join(b"X-%d: 1\r\n" % n for n in range(300_000)) + b"\r\n"
        trial.one_of("300,000 trailer fields", (431, 400, 413, CLOSED), ask(service.port, flood).status)
        few = begin + b"X-Checksum: 1\r\n\r\n"
        trial.equal("one trailer field", 200, ask(service.port, few).status)


def pipelines(trial: Trial) -> None:
    """Pipeline requests on six connections without reading an answer."""
    with serve(trial, *UNSHED) as service:
        service.fault()
        piece = head("GET", "/openapi.json") * 200
        wires = [Wire(service.port, 0.05) for _ in range(6)]
        try:
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                for wire in wires:
                    wire.send(piece)
        finally:
            for wire in wires:
                wire.socket.close()
        trial.equal("a request afterwards", 200, service.rerank()[0])


def leaving_clients(trial: Trial) -> None:
    """Send whole requests and reset the connection at once, 300 times."""
    message = _post(f"Content-Length: {len(_body())}") + _body()
    with serve(trial) as service:
        service.fault()
        for _ in range(300):
            with Wire(service.port) as wire:
                wire.send(message)
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        service.until("none is in progress", lambda: (service.metric("rerank_in_flight") or 0) <= 4, 30)
        service.until("a request is answered afterwards", lambda: service.rerank()[0] == 200, 10)


SCENARIOS: Final = (
    Scenario(
        name="upgrade",
        row=1,
        fault="requests that ask for another protocol",
        how="`Upgrade: h2c`, `websocket`, `TLS/1.0` with bodies, also in later packets, in chunks, pipelined; CONNECT",
        right="the Upgrade is ignored, the request answered; CONNECT refused",
        act=upgrade,
        quick=True,
    ),
    Scenario(
        name="framing",
        row=14,
        fault="requests with wrong framing or a foreign host",
        how="no Host, two lengths, `gzip, chunked`, chunks in HTTP/1.0, cut JSON, a foreign Host at the admin port",
        right="400, 501, 404, 421, each as HTTP says; `IDENTITY` is accepted",
        act=framing,
        quick=True,
    ),
    Scenario(
        name="head-flood",
        row=2,
        fault="a head without an end",
        how="100 MB of header lines; a request line of 1 MB; 102 fields",
        right="431 or 414 and closed; memory stays",
        act=head_flood,
    ),
    Scenario(
        name="trailers",
        row=2,
        fault="300,000 trailer fields",
        how="after a chunked body",
        right="refused and closed; one trailer field is fine",
        act=trailers,
    ),
    Scenario(
        name="pipelines",
        row=2,
        fault="clients that pipeline and do not read",
        how="six connections, 4 s",
        right="the server stops reading; memory stays",
        act=pipelines,
    ),
    Scenario(
        name="leaving-clients",
        row=0,
        fault="clients that leave",
        how="300 whole requests, each reset at once",
        right="nothing stays in progress; others are answered",
        act=leaving_clients,
    ),
)
