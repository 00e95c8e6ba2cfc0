"""Measure the CPU time of observing one finished request, by observer, in process.

The public app answers requests with the demo's model, and the records of those are given to each observer by itself.
The last row is the event loop's part of whole requests, from the app's call to its return, as a service is by default.
The thread's own CPU time is taken, which a busy machine disturbs less than a clock does. *Warm* is one record after the
other; before a *cold* one, much other memory is read, as there is in a service between two requests. Log lines go to a
pipe that another process reads; spans go to a queue whose collector is down. ``--before TREE`` measures that checkout
too, in turn, each time in a process of its own; an observer that it lacks has no row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop

from loadtest.cost.refusal import measure
from loadtest.requests.payloads import from_bundle
from models.contract.manifest import DEMO_BUNDLE
from models.contract.serving import RERANK_PATH
from service.app import create_app
from service.bundles.load import load_bundle
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.inference.dispatcher import Dispatcher
from service.inference.onnx.session import SessionConfig
from service.inference.thread import InferenceThread
from service.settings import Settings
from service.telemetry import stderr
from service.telemetry.logs import configure_logging
from service.telemetry.metrics import Metrics
from service.telemetry.records import RequestObserver, RequestRecord

try:
    from service.telemetry.request_log import RequestLog, RequestLogOptions
except ModuleNotFoundError:  # A tree from before it.
    WITH_LOG = False
else:
    WITH_LOG = True

try:
    from service.telemetry.records import Lap, SpanFacts
    from service.telemetry.tracing import OtlpTracing
    from service.transport.asgi import new_trace
except (ImportError, ModuleNotFoundError):  # A tree from before it, or no SDK.
    WITH_TRACES = False
else:
    WITH_TRACES = True

CANDIDATES: Final = 100
_RECORDS, _WARM, _COLD = 64, 6400, 400
_OTHER_MEMORY: Final = 3_000_000  # Numbers of 8 bytes: more than the caches of one core hold.
_WHOLE: Final = 600
_SHARE: Final = 0.01  # The default of --log-requests.
_QUEUED_SPANS: Final = 1_000_000  # None is dropped, which would be cheaper.
_NO_COLLECTOR: Final = "http://127.0.0.1:9"
_BUDGET_SECONDS: Final = 60.0
_HERE: Final = Path(__file__).resolve().parents[2]

Cost = dict[str, dict[str, float]]
"""Microseconds by observer, then by ``warm`` and ``cold``; of whole requests there are no cold ones."""


@contextlib.contextmanager
def answering(model: Model, **options: Any) -> Iterator[Callable[[bytes], Awaitable[None]]]:
    """Yield what sends a body to an app with these options."""
    values: dict[str, Any] = {"bundles": Path(), "budget_ms": _BUDGET_SECONDS * 1e3}
    settings = Settings(**values)
    registry, metrics = Registry(), Metrics(budget_seconds=settings.budget_seconds)
    registry.on_publish(metrics.model_loaded)
    registry.publish(model)
    registry.loaded()
    with contextlib.closing(InferenceThread()) as thread:
        app = create_app(
            settings=settings,
            registry=registry,
            metrics=metrics,
            dispatcher=Dispatcher(thread),
            **options,
        )
        yield lambda body: _post(app, body)


def bodies(count: int) -> list[bytes]:
    """Make so many requests of the demo."""
    source = from_bundle(DEMO_BUNDLE, seed=0)
    return [json.dumps(source(CANDIDATES)).encode() for _ in range(count)]


async def records_of(model: Model, count: int) -> list[RequestRecord]:
    """Answer requests in process, and return their records, each with a trace of its own."""
    records: list[RequestRecord] = []
    with answering(model, observers=(records.append,)) as ask:
        for body in bodies(count):
            await ask(body)
    assert all(record.outcome == "ok" for record in records), records[0]
    traces = random.Random(0)
    return [replace(record, trace_id=f"{traces.getrandbits(128):032x}") for record in records]


async def _post(app: Any, body: bytes) -> None:
    """Send one request to an ASGI app."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": "POST", "path": RERANK_PATH, "headers": headers, "client": ("127.0.0.1", 40_000)}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    async def send(_: object) -> None:
        pass

    await app(scope, receive, send)


def observers(model: Model) -> dict[str, Sequence[RequestObserver]]:
    """Return the observers of each row; the last has all that a service has."""
    metrics = Metrics(budget_seconds=_BUDGET_SECONDS)
    metrics.model_loaded(model)
    rows: dict[str, Sequence[RequestObserver]] = {"metrics": [metrics.observe]}
    if not WITH_LOG:
        return {**rows, "all, as by default": [metrics.observe]}

    def log(share: float) -> RequestObserver:
        return _request_log(share).observe

    return {
        **rows,
        "request log, off": [log(0.0)],
        "request log, sampled out": [log(1e-18)],
        "request log, sampled in": [log(1.0)],
        "all, as by default": [metrics.observe, log(_SHARE)],
    }


def _request_log(share: float) -> RequestLog:
    """Make a log of requests that limits no lines of the sample."""
    return RequestLog(
        RequestLogOptions(
            share=share, slow_seconds=_BUDGET_SECONDS, batch_slow_seconds=_BUDGET_SECONDS, most_sampled=1_000_000
        )
    )


@contextlib.contextmanager
def tracers(records: Sequence[RequestRecord]) -> Iterator[dict[str, Sequence[RequestObserver]]]:
    """Yield the rows of tracing: of requests that are not sampled, and that are."""
    if not WITH_TRACES:
        yield {}
        return
    traced = {record.request_id: replace(record, spans=_facts(record)) for record in records}
    tracing = OtlpTracing(_NO_COLLECTOR, 0.0, lambda _result, _spans: None, queued=_QUEUED_SPANS)
    with contextlib.closing(tracing):
        yield {
            "traces, not sampled": [tracing.observe],
            "traces, sampled": [lambda record: tracing.observe(traced[record.request_id])],
        }


def _facts(record: RequestRecord) -> SpanFacts:
    """Make the laps of a request of its stages, one after the other."""
    laps, end = [], time.perf_counter()
    for stage, seconds in record.stages.items():
        laps.append(Lap(stage, end, end + seconds))
        end += seconds
    return SpanFacts(new_trace(), laps[0].start, laps)


@contextlib.contextmanager
def logging_to_a_pipe() -> Iterator[None]:
    """Send log lines to a process that reads and drops them."""
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert reader.stdin is not None
    kept = os.dup(stderr.STDERR)
    os.dup2(reader.stdin.fileno(), stderr.STDERR)
    try:
        configure_logging(level="info", as_json=True)
        yield
    finally:
        os.dup2(kept, stderr.STDERR)
        os.close(kept)
        reader.communicate()


async def cpu_us() -> Cost:
    """Return the medians of one warm and one cold record by row, in microseconds."""
    model = load_bundle(DEMO_BUNDLE, SessionConfig())
    records = await records_of(model, _RECORDS)
    with logging_to_a_pipe(), tracers(records) as traces:
        rows = {**observers(model), **traces}
        found = {name: _figures(records, observed_by) for name, observed_by in rows.items()}
        return {**found, "a whole request": {"warm": await _whole(model)}}


async def _whole(model: Model) -> float:
    """Return the CPU time of the event loop for one request, without the engine's."""
    times = []
    options: dict[str, Any] = {"request_log": _request_log(_SHARE)} if WITH_LOG else {}
    with answering(model, **options) as ask:
        for body in bodies(_WHOLE):
            before = time.thread_time()
            await ask(body)
            times.append(time.thread_time() - before)
    return statistics.median(times) * 1e6


def _figures(records: Sequence[RequestRecord], observed_by: Sequence[RequestObserver]) -> dict[str, float]:
    def observe(record: RequestRecord) -> None:
        for observer in observed_by:
            observer(record)

    return {"warm": _warm(records, observe), "cold": _cold(records, observe) - _cold(records, lambda _: None)}


def _warm(records: Sequence[RequestRecord], observe: RequestObserver) -> float:
    """Return the CPU time of one record among many in a row."""
    times = []
    for _ in range(_WARM // len(records)):
        before = time.thread_time()
        for record in records:
            observe(record)
        times.append((time.thread_time() - before) / len(records))
    return statistics.median(times) * 1e6


def _cold(records: Sequence[RequestRecord], observe: RequestObserver) -> float:
    """Return the CPU time of one record after other work.

    The record itself has just been made.
    """
    other = np.ones(_OTHER_MEMORY)
    times = []
    for i in range(_COLD):
        np.add(other, 1, out=other)
        record = records[i % len(records)]
        record = replace(record, stages=dict(record.stages))
        before = time.thread_time()
        observe(record)
        times.append(time.thread_time() - before)
    return statistics.median(times) * 1e6


def render(found: Mapping[str, Sequence[Cost]]) -> str:
    """Return a table in Markdown: medians of the blocks with their ranges."""
    lines = ["| tree | observers | warm, µs | cold, µs |", "|---|---|---|---|"]
    for tree, blocks in found.items():
        for row in blocks[0]:
            figures = [
                _spread([block[row][kind] for block in blocks if kind in block[row]]) for kind in ("warm", "cold")
            ]
            lines.append(f"| {tree} | {row} | {' | '.join(figures)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main(argv: Sequence[str] | None = None, run: Callable[[], Cost] = lambda: uvloop.run(cpu_us())) -> int:
    """Print the table; the exit status is 0."""
    parser = argparse.ArgumentParser("python -m loadtest.cost.observing", description=__doc__)
    parser.add_argument("--before", type=Path, metavar="TREE", help="another checkout to measure in turn")
    parser.add_argument("--blocks", type=int, default=5, help="turns of all trees (5)")
    parser.add_argument("--once", action="store_true", help="measure in this process, and print JSON")
    options = parser.parse_args(argv)
    if options.once:
        print(json.dumps(run()))
        return 0
    trees = {"before": options.before.resolve()} if options.before else {}
    print(render(measure({**trees, "this tree": _HERE}, options.blocks, Path(__file__))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
