"""Measure the CPU that traces cost the event loop: ``python -m tests.service.tracing_cost``.

The whole app with the demo bundle answers requests in process, without a socket: without tracing, with it and a caller
who does not sample, and with it and one who does. The three take turns, request by request, so that a difference is one
between neighbours. The loop's own CPU time is taken, and that of the exporter's thread apart from it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import operator
import statistics
import threading
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, Final

import uvloop

from models.contract.manifest import DEMO_BUNDLE
from models.contract.serving import RERANK_PATH
from service.app import PublicApp, create_app
from service.bundles.load import load_bundle
from service.bundles.registry import Registry
from service.inference.dispatcher import Dispatcher
from service.inference.onnx.session import SessionConfig
from service.inference.thread import InferenceThread
from service.ranking.exchange import Exchange
from service.scenes.live import Scenes
from service.scenes.reading import NO_SCENES
from service.server import traces
from service.telemetry.metrics import Metrics
from service.telemetry.records import RequestStage
from service.telemetry.spans import Tracing
from service.transport.asgi import ARRIVAL_KEY
from tests.service.live import make_settings
from tests.service.otlp import collecting
from tests.service.trace_picture import request_of_many

TRACEPARENT: Final = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
WARM_UP: Final = 200
STAGES_TO_ENGINE: Final[tuple[RequestStage, ...]] = ("decode", "deal", "encode")


class Setting:
    """One app, and the requests that it is sent."""

    def __init__(self, stack: contextlib.ExitStack, endpoint: str | None, flags: bytes) -> None:
        settings = make_settings(otlp_endpoint=endpoint, trace_share=0)
        metrics = Metrics(budget_seconds=settings.budget_seconds)
        registry, scenes = Registry(), Scenes()
        registry.on_publish(metrics.model_loaded)
        registry.publish(load_bundle(DEMO_BUNDLE, SessionConfig()))
        registry.loaded()
        scenes.swap(NO_SCENES)
        before = set(threading.enumerate())
        tracing = stack.enter_context(traces(settings, metrics.spans_ended))
        self.exporters = [thread for thread in threading.enumerate() if thread not in before]
        thread = stack.enter_context(contextlib.closing(InferenceThread()))
        self._app: PublicApp = create_app(
            settings=settings,
            registry=registry,
            metrics=metrics,
            dispatcher=Dispatcher(thread),
            scenes=scenes,
            tracing=tracing,
        )
        self._headers = [(b"content-type", b"application/json"), (b"traceparent", TRACEPARENT + flags)]

    async def ask(self, body: bytes) -> float:
        """The CPU seconds that the loop's thread took for a request."""
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        scope: dict[str, Any] = {"type": "http", "path": RERANK_PATH, "method": "POST", "headers": self._headers}
        scope[ARRIVAL_KEY] = time.perf_counter()
        before = time.thread_time()
        await self._app(scope, receive, send)
        spent = time.thread_time() - before
        assert status == 200
        return spent

    def export_seconds(self) -> float:
        """The CPU seconds that the exporter's threads have taken so far."""
        clocks = [time.pthread_getcpuclockid(thread.ident) for thread in self.exporters if thread.ident is not None]
        return sum(map(time.clock_gettime, clocks))


def traced_part(tracing: Tracing | None, flags: bytes, rounds: int) -> float:
    """The CPU seconds of all that tracing touches in a request, one right after the other: headers to record."""
    scope: dict[str, Any] = {"headers": [(b"content-type", b"application/json"), (b"traceparent", TRACEPARENT + flags)]}
    before = time.thread_time()
    for _ in range(rounds):
        scope[ARRIVAL_KEY] = time.perf_counter()
        exchange = Exchange.begin(scope, tracing)
        for stage in STAGES_TO_ENGINE:
            exchange.clock.lap(stage)
        exchange.clock.engine_ran(time.perf_counter(), 0.0, 0.0)
        exchange.clock.lap("respond")
        record = exchange.record("ok", 200, None)
        if tracing is not None:
            tracing.observe(record)
    return (time.thread_time() - before) / rounds


def measure_parts(blocks: int, rounds: int) -> list[dict[str, float]]:
    """The medians of each block in microseconds, as `measure` gives them."""
    found = []
    with collecting() as collector, contextlib.ExitStack() as stack:
        settings = make_settings(otlp_endpoint=collector.url, trace_share=0)
        tracing = stack.enter_context(traces(settings, lambda _result, _spans: None))
        for _ in range(blocks):
            off = traced_part(None, b"1", rounds)
            more = {n: traced_part(tracing, f, rounds) - off for n, f in (("unsampled", b"0"), ("sampled", b"1"))}
            found.append({name: seconds * 1e6 for name, seconds in {"off": off, **more}.items()})
            time.sleep(1)  # The exporter sends what waits: a full queue would make it cheaper.
    return found


async def measure(blocks: int, requests: int) -> list[dict[str, float]]:
    """The medians of each block in microseconds: of a request without tracing, and of what the others take more."""
    body = json.dumps(request_of_many()).encode()
    found = []
    with collecting() as collector, contextlib.ExitStack() as stack:
        off = Setting(stack, None, b"1")
        unsampled, sampled = (Setting(stack, collector.url, flags) for flags in (b"0", b"1"))
        settings = {"off": off, "unsampled": unsampled, "sampled": sampled}
        for _ in range(WARM_UP):
            for setting in settings.values():
                await setting.ask(body)
        for _ in range(blocks):
            exported = sampled.export_seconds()
            times: dict[str, list[float]] = {name: [] for name in settings}
            for _ in range(requests):
                for name, setting in settings.items():
                    times[name].append(await setting.ask(body))
            block = {"off": statistics.median(times["off"]) * 1e6}
            for name in ("unsampled", "sampled"):
                block[name] = statistics.median(map(operator.sub, times[name], times["off"])) * 1e6
            block["exporter"] = (sampled.export_seconds() - exported) / requests * 1e6
            found.append(block)
    return found


def show(title: str, found: Sequence[dict[str, float]]) -> None:
    """Print the median of the blocks, and their range."""
    print(f"{title}; unsampled and sampled: more than off")
    for name in found[0]:
        values = [block[name] for block in found]
        print(f"  {name:10} {statistics.median(values):7.1f} µs ({min(values):.1f} to {max(values):.1f})")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.service.tracing_cost", description=__doc__)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--requests", type=int, default=200, help="of each setting in a block (200)")
    options = parser.parse_args()
    show("the parts that tracing touches", measure_parts(options.blocks, options.requests))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        show("a whole request", runner.run(measure(options.blocks, options.requests)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
