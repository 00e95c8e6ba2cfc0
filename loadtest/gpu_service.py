"""A bundle behind the whole service, on one provider: response times, what the service adds, reload, GPU memory.

Closed loops at several concurrencies, one after the other, over HTTP. The client has a CPU of its own where there are
two or more.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest.cost.overhead import PATH, measure
from loadtest.cost.service_cost import Split, on_cpus
from loadtest.gpu import memory_used_mb
from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads
from loadtest.rig.client import KeepAliveClient, post_message
from loadtest.rig.closed_loop import ClosedLoop
from loadtest.rig.latency import Latency
from loadtest.rig.server import HOST, UNHURRIED, Server, running_server
from models.contract.manifest import Manifest

CONCURRENCY: Final = (1, 2, 4, 8, 16)
_RELOADS: Final = 2
_RELOAD_TIMEOUT: Final = 90.0


@dataclass(frozen=True, slots=True)
class ServiceRun:
    """What to serve (a root folder with one bundle in it), with which options, and how long to measure."""

    bundle: Path
    options: tuple[str, ...]
    requests: int
    candidates: int = 100
    seed: int = 0


def measure_service(run: ServiceRun, log: Path) -> dict[str, Any]:
    """All figures; times in milliseconds unless they say otherwise.

    Raises `ServerError` if the service does not come up, `ValueError` for an answer that is not the model's.
    """
    available = os.sched_getaffinity(0)
    split = Split.of(available, max(1, len(available) - 1))
    before, started = memory_used_mb(), time.perf_counter()
    options = (*UNHURRIED, *run.options)
    log.parent.mkdir(parents=True, exist_ok=True)
    with running_server(run.bundle.parents[1], options=options, cpus=split.server, log=log) as server:
        ready = time.perf_counter() - started
        with on_cpus(split.client):
            messages = _messages(run)
            rows = [_closed(server, messages, concurrency, run.requests) for concurrency in CONCURRENCY]
            return {
                "ready_seconds": ready,
                "memory_mb": _difference(before, memory_used_mb()),
                "rows": rows,
                "overhead": _overhead(server, messages, run.requests),
                "reload_seconds": _reload(server, run),
                "memory_after_reload_mb": _difference(before, memory_used_mb()),
                "client_cpu_shared": split.shared,
            }


def _messages(run: ServiceRun) -> list[bytes]:
    source = from_bundle(run.bundle, seed=run.seed)
    settings = PayloadOptions(count=32, sizes={run.candidates: 1.0}, seed=run.seed, extra={"timeout_ms": 5000})
    return [post_message(HOST, PATH, payload.body) for payload in make_payloads(source, settings)]


def _closed(server: Server, messages: Sequence[bytes], concurrency: int, requests: int) -> dict[str, float]:
    with closing(ClosedLoop(HOST, server.port, concurrency=concurrency)) as loop:
        loop.block(messages, max(concurrency, requests // 10))
        block = loop.block(messages, max(concurrency, requests))
    latency = Latency.of(block.times_ms)
    return {"concurrency": concurrency, "requests": latency.requests, **_percentiles(latency), "rate": block.rate}


def _overhead(server: Server, messages: Sequence[bytes], requests: int) -> dict[str, float]:
    """One at a time: the whole, inference as the answer states it, and the rest request by request."""
    with KeepAliveClient(HOST, server.port) as client:
        measure(client, messages, max(1, requests // 10))
        block = measure(client, messages, requests)
    rest = [total - infer for total, infer in zip(block.total, block.infer, strict=True)]
    named = (("total", block.total), ("infer", block.infer), ("overhead", rest))
    return {f"{name}_{p}": v for name, times in named for p, v in _percentiles(Latency.of(times)).items()}


def _reload(server: Server, run: ServiceRun) -> list[float]:
    """Seconds of each reload of the same version, checks and warm-up included."""
    url = f"http://{HOST}:{server.announcement['admin_port']}/admin/v1/reload"
    manifest = Manifest.read(run.bundle)
    body = json.dumps({"model": manifest.name, "version": manifest.version}).encode()
    seconds = []
    for _ in range(_RELOADS):
        request = urllib.request.Request(url, body, {"content-type": "application/json"}, method="POST")
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=_RELOAD_TIMEOUT) as answer:
            answer.read()
        seconds.append(time.perf_counter() - started)
    return seconds


def _percentiles(latency: Latency) -> dict[str, float]:
    return {"p50_ms": latency.p50, "p99_ms": latency.p99}


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
