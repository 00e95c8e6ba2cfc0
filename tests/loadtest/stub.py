"""A stand-in for the service: a real HTTP server on a free port whose answers a test chooses."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


def in_input_order(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A valid answer: the first top_n candidates as they came."""
    items = [
        {"id": c["id"], "index": i, "position": i + 1, "source": "model"}
        for i, c in enumerate(request["candidates"][: request["top_n"]])
    ]
    return 200, {
        "request_id": request["request_id"],
        "items": items,
        "degraded": None,
        "timings_ms": {"infer": 0.25, "total": 0.5},
    }


@contextlib.contextmanager
def stub_service(answer: Answer = in_input_order, *, key: str | None = None) -> Iterator[int]:
    """Serve `answer` on 127.0.0.1 while the context lasts, to those that show `key`; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            shown = self.headers["Authorization"]
            status, table = answer(request) if key is None or shown == f"Bearer {key}" else (401, {})
            body = json.dumps(table).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
