"""An HTTP server on this machine whose files fail as a test says."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

Fault = Literal["cut", "busy", "gone", "other", "hang"]


class Web(ThreadingHTTPServer):
    """Serve a folder; `faults` maps the end of a path to what befalls each next download of it."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.downloads: dict[str, int] = defaultdict(int)
        self.hanging = threading.Event()
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(SimpleHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self.server.downloads[name] += bool(name)
        faults = self.server.faults[name]
        fault = faults.pop(0) if faults else None
        if fault == "busy":
            self.send_error(503)
        elif fault == "gone":
            self.send_error(404)
        elif fault is None:
            super().do_GET()
        else:
            self._spoilt(Path(self.translate_path(self.path)).read_bytes(), fault)

    def _spoilt(self, content: bytes, fault: Fault) -> None:
        """Announce the whole file, and send half of it, or other bytes."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault != "other" else bytes(len(content)))
        self.wfile.flush()
        if fault == "hang":
            self.server.hanging.set()
            self.server.released.wait(60)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def running_web(folder: Path) -> Iterator[Web]:
    """Serve a folder while the block runs."""
    with Web(folder) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            yield web
        finally:
            web.released.set()
            web.shutdown()
            thread.join()
