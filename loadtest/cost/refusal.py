"""Measure the CPU time of a refusal in process, without a socket.

A real connection's protocol, with the whole public app behind it, is fed with requests while one is in progress and no
more are let in. The thread's own CPU time is taken, which a busy machine disturbs less than a clock does. It is the
code's alone: what the system does for the socket comes on top. *Warm* is one refusal after the other; before a *cold*
one, much other memory is read, as there is in a service that also answers. ``--before TREE`` measures that checkout
too, in turn, each time in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from models.contract.serving import RERANK_PATH
from service.app import create_app
from service.bundles.registry import Registry
from service.inference.dispatcher import Dispatcher
from service.inference.thread import InferenceThread
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.transport.protocol import TimedProtocol

try:
    from service.telemetry.request_log import RequestLog, RequestLogOptions
except ModuleNotFoundError:  # A tree from before it, whose server made no record of a refusal.
    WITH_LOG = False
else:
    WITH_LOG = True

BODY_BYTES: Final = 16_600
"""About what 100 candidates take."""

_WARM, _COLD = 4000, 400
_OTHER_MEMORY: Final = 3_000_000  # Numbers of 8 bytes: more than the caches of one core hold.
_HERE: Final = Path(__file__).resolve().parents[2]


class _Socket:
    family = 2

    def fileno(self) -> int:
        return 9

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 8000

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 40_000


class _Transport(asyncio.Transport):
    """Takes answers and keeps the latest."""

    latest = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return _Socket() if name == "socket" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.latest = bytes(data)

    def is_closing(self) -> bool:
        return False


def message() -> bytes:
    """Return a request as it goes over the wire."""
    fields = f"host: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {BODY_BYTES}"
    return f"POST {RERANK_PATH} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + b" " * BODY_BYTES


async def cpu_us() -> dict[str, float]:
    """Return the medians of a warm and a cold refusal, in microseconds."""
    values: dict[str, Any] = {"bundles": Path(), "max_in_flight": 1}
    settings = Settings(**values)
    with contextlib.closing(InferenceThread()) as thread:
        metrics = Metrics(budget_seconds=settings.budget_seconds)
        dispatcher = Dispatcher(thread)
        app = create_app(
            settings=settings, registry=Registry(), metrics=metrics, dispatcher=dispatcher, **_request_log()
        )
        app.endpoint.enter({})
        config = Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
        config.load()
        connection = TimedProtocol(
            config, ServerState(), {}, connections=app.connections, gate=app.endpoint, gate_path=RERANK_PATH.encode()
        )
        transport = _Transport()
        connection.connection_made(transport)
        return {"warm": _median(connection, transport, _WARM), "cold": _median(connection, transport, _COLD, cold=True)}


def _request_log() -> dict[str, Any]:
    """Return the argument that gives an app the default log of requests."""
    options = RequestLogOptions(share=0.01, slow_seconds=1.0, batch_slow_seconds=1.0)
    return {"request_log": RequestLog(options)} if WITH_LOG else {}


def _median(connection: TimedProtocol, transport: _Transport, count: int, *, cold: bool = False) -> float:
    other = np.ones(_OTHER_MEMORY if cold else 1)
    request, times = message(), []
    for _ in range(count):
        np.add(other, 1, out=other)
        transport.latest = b""
        before = time.thread_time()
        connection.data_received(request)
        times.append(time.thread_time() - before)
        assert transport.latest.startswith(b"HTTP/1.1 503"), transport.latest
    return statistics.median(times) * 1e6


def measure(trees: Mapping[str, Path], blocks: int, script: Path = Path(__file__)) -> dict[str, list[Any]]:
    """Run `script --once` with each tree in turn, so many times.

    Returns the JSON that it printed, by tree.
    """
    found: dict[str, list[Any]] = {name: [] for name in trees}
    for _ in range(blocks):
        for name, tree in trees.items():
            environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, str(script), "--once"], env=environment, stdout=subprocess.PIPE, check=True
            )
            found[name].append(json.loads(done.stdout))
    return found


def render(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return a line for each tree: the median of its blocks and their range."""
    lines = []
    for name, blocks in found.items():
        figures = [
            f"{kind} {statistics.median(values):.0f} us ({min(values):.0f} to {max(values):.0f})"
            for kind in ("warm", "cold")
            if (values := [block[kind] for block in blocks])
        ]
        lines.append(f"{name}: {', '.join(figures)}, {len(blocks)} blocks")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; the exit status is 0."""
    parser = argparse.ArgumentParser("python -m loadtest.cost.refusal", description=__doc__)
    parser.add_argument("--before", type=Path, metavar="TREE", help="another checkout to measure in turn")
    parser.add_argument("--blocks", type=int, default=5, help="turns of all trees (5)")
    parser.add_argument("--once", action="store_true", help="measure in this process, and print JSON")
    options = parser.parse_args(argv)
    if options.once:
        print(json.dumps(uvloop.run(cpu_us())))
        return 0
    trees = {"before": options.before.resolve()} if options.before else {}
    print(render(measure({**trees, "this tree": _HERE}, options.blocks)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
