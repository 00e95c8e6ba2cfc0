"""Apps on real sockets: the app of a test runs in a thread of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvloop
from fastapi import FastAPI

from models.contract.features import Encoder
from service.access.keys import ApiKeys
from service.access.sources import Access
from service.app import create_app
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.catalogues.choose_source import make_live
from service.catalogues.live import Catalogues
from service.catalogues.source import LiveSource
from service.inference.dispatcher import Dispatcher
from service.inference.engine import BatchArrays
from service.inference.thread import InferenceThread
from service.scenes.live import Scenes
from service.scenes.reading import NO_SCENES
from service.server import live_values, traces
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.records import RequestObserver, RequestRecord
from service.transport.connections import Connections
from service.transport.gate import Gate
from service.transport.listener import Listener
from tests.service.tiny_bundle import Arrays, Options, make_manifest

HOST = "127.0.0.1"
WAIT_SECONDS = 60
"""Longer than anything takes on a busy machine: what ends it is a failure."""


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Live:
    """A listening app and what stands behind it."""

    port: int
    registry: Registry
    metrics: Metrics
    records: Sequence[RequestRecord]
    scenes: Scenes
    catalogues: Catalogues
    keys: ApiKeys
    stop: Callable[[], None] = lambda: None
    """Begin to drain; the server ends in its own time."""
    ended: Callable[[], bool] = lambda: False
    draining: Callable[[], bool] = lambda: True
    """Whether all connections know that the server drains."""

    def drain(self) -> None:
        """Begin to drain, and wait until every connection knows."""
        self.stop()
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.draining():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def request(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Reply:
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=WAIT_SECONDS)) as connection:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, path: str, headers: Mapping[str, str] = {}) -> Reply:
        return self.request("GET", path, headers=headers)

    def post(self, body: object, headers: Mapping[str, str] = {}) -> Reply:
        """POST /v1/rerank; anything but bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        before = len(self.records)
        reply = self.request("POST", "/v1/rerank", raw, {"Content-Type": "application/json", **headers})
        # The record, and with it the metrics, come after the answer.
        deadline = time.monotonic() + 5
        while len(self.records) == before and time.monotonic() < deadline:
            time.sleep(0.001)
        return reply

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are, and read until the server closes the connection; it is a failure if it does not."""
        with socket.create_connection((HOST, self.port), timeout=WAIT_SECONDS) as connection:
            connection.sendall(data)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
            return received

    def series(self, name: str, **labels: str) -> float | None:
        """One sample, as a scrape would see it."""
        self.metrics.refresh()
        return self.metrics.registry.get_sample_value(name, labels)


class FakeEngine:
    """Answers like the tiny graph, without ONNX Runtime; `hold` keeps every run waiting until it is set."""

    provider = "cpu"
    largest_batch = 8
    thread_safe = True

    def __init__(self, options: Options | None = None, **outputs: Any) -> None:
        self._limits = (options or Options()).limits
        self._outputs = outputs
        self.error: Exception | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.batches: list[BatchArrays] = []

    def run(self, batch: BatchArrays) -> Arrays:
        self.batches.append(batch)
        assert self.hold.wait(WAIT_SECONDS)
        if self.error is not None:
            raise self.error
        length = self._limits.list_length
        rows = len(batch["valid"])
        order = np.full((rows, length), -1, np.int64)
        for row, valid in zip(order, batch["valid"], strict=True):
            slots = np.flatnonzero(valid)[:length]
            row[: len(slots)] = slots
        zeros = np.zeros((rows, length), np.float32)
        answer: Arrays = {
            "order": order,
            "value": np.zeros((rows, length, 3), np.float32),
            "penalty": zeros,
            "score": zeros,
            "runner_up": np.full((rows, length), -1, np.int64),
        }
        return answer | {name: _rows(value, rows, answer.get(name)) for name, value in self._outputs.items()}

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        self.run(batch)
        yield


def _rows(value: Any, rows: int, usual: Any) -> Any:
    """The same value for every row: an array as it is, anything else in the type that this output usually has."""
    return np.array([value] * rows, None if usual is None or isinstance(value, np.ndarray) else usual.dtype)


def fake_model(engine: FakeEngine | None = None, options: Options | None = None) -> Model:
    """A model around a fake engine."""
    manifest = make_manifest(options or Options())
    return Model(manifest, Encoder(manifest.spec), engine or FakeEngine(options))


@contextlib.contextmanager
def live_app(
    *models: Model, ready: bool = True, observers: Sequence[RequestObserver] = (), **settings: Any
) -> Iterator[Live]:
    """The public app with these models, listening. `settings` as in `Settings`, which reads no environment here."""
    configured = make_settings(**settings)
    registry = Registry(default=configured.default_model, keep_versions=configured.keep_versions)
    metrics = Metrics(budget_seconds=configured.budget_seconds, shadow=configured.shadow_bundle)
    registry.on_publish(metrics.model_loaded)
    registry.on_retire(metrics.model_retired)
    for model in models:
        registry.publish(model)
    scenes = Scenes()
    scenes.on_swap(metrics.scenes_swapped)
    registry.needs(scenes.why_not_ready)
    catalogues = Catalogues()
    catalogues.on_swap(metrics.catalogues_swapped)
    registry.needs(catalogues.why_not_ready)
    if ready:
        registry.loaded()
        scenes.swap(NO_SCENES)
    records: list[RequestRecord] = []
    live = make_live(configured, metrics.live_values)
    access = Access.open(configured)
    with traces(configured, metrics.spans_ended) as tracing, contextlib.closing(InferenceThread()) as thread:
        app = create_app(
            settings=configured,
            registry=registry,
            metrics=metrics,
            dispatcher=Dispatcher(thread, on_drop=metrics.dropped),
            observers=(records.append, *observers),
            scenes=scenes,
            live=live,
            catalogues=catalogues,
            keys=access.public,
            tracing=tracing,
        )
        with serving(app, configured, app.endpoint, app.connections, live) as (port, server, server_thread):
            stop = functools.partial(setattr, server, "should_exit", True)

            def draining() -> bool:
                return server.should_exit and all(c._draining for c in list(server._connections()))

            yield Live(
                port,
                registry,
                metrics,
                records,
                scenes,
                catalogues,
                access.public,
                stop,
                lambda: not server_thread.is_alive(),
                draining,
            )


def make_settings(**values: Any) -> Settings:
    """Settings with a bundles folder that exists and, unless told otherwise, time for everything.

    However long requests wait on a busy machine, that is no standing queue, so none is shed.
    """
    patient = {"budget_ms": 30_000, "batch_budget_ms": 30_000, "queue_target_ms": 60_000}
    return Settings(**{"bundles": ".", **patient, **values})


@contextlib.contextmanager
def listening(app: FastAPI, settings: Settings) -> Iterator[int]:
    """Serve `app` from a thread; yields the port."""
    with serving(app, settings) as (port, _, _):
        yield port


@contextlib.contextmanager
def serving(
    app: FastAPI,
    settings: Settings,
    gate: Gate | None = None,
    connections: Connections | None = None,
    live: LiveSource | None = None,
) -> Iterator[tuple[int, Listener, threading.Thread]]:
    """Serve `app` from a thread; yields the port, and what can be stopped and waited for."""
    sock = socket.create_server((HOST, 0))
    port = int(sock.getsockname()[1])
    server = Listener(app, settings, sock, gate=gate, connections=connections)

    async def listen() -> None:
        async with live_values(live):
            await server.listen()

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(listen())

    thread = threading.Thread(target=work, name="server")
    thread.start()
    try:
        while not server.started:
            thread.join(0.005)
            assert thread.is_alive(), "the server did not start"
        yield port, server, thread
    finally:
        server.should_exit = True
        thread.join()
