"""Warm-up: what a model is sent before it serves, on which thread, and how it gives way to requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract.features import Encoder
from service.bundles.model import BundleError, Model
from service.catalogues.live import Catalogues
from service.inference import thread as thread_module
from service.inference.dispatcher import Dispatcher
from service.inference.engine import BatchArrays, EngineError
from service.inference.thread import INFERENCE, InferenceThread
from service.ranking.warmup import warm_up
from tests.service.catalogued import item, open_catalogue
from tests.service.live import WAIT_SECONDS, FakeEngine, fake_model
from tests.service.requests import candidate
from tests.service.tiny_bundle import Arrays, Options, make_manifest


class Noting(FakeEngine):
    """Notes on which thread, at which priority and with how many rows each run was made."""

    def __init__(self, *, thread_safe: bool = True, **outputs: Any) -> None:
        super().__init__(None, **outputs)
        self.thread_safe = thread_safe
        self.runs: list[tuple[str, int, int]] = []
        self.before_run: Callable[[], None] = lambda: None

    def run(self, batch: BatchArrays) -> Arrays:
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else 0
        self.runs.append((threading.current_thread().name, nice, len(batch["valid"])))
        self.before_run()
        return super().run(batch)

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        for _ in range(5):
            self.run(batch)
            yield

    def on(self, name: str) -> list[tuple[str, int, int]]:
        return [run for run in self.runs if run[0] == name]


def model_of(engine: FakeEngine) -> Model:
    manifest = make_manifest(Options())
    return Model(manifest, Encoder(manifest.spec), engine)


def with_dispatcher(work: Callable[[Dispatcher, InferenceThread], Awaitable[None]]) -> None:
    async def run() -> None:
        with contextlib.closing(InferenceThread()) as thread:
            await work(Dispatcher(thread), thread)

    asyncio.run(run())


@pytest.mark.parametrize("gently", [False, True])
def test_a_model_that_any_thread_may_run_is_warmed_aside(gently: bool) -> None:
    engine = Noting()
    with_dispatcher(lambda dispatcher, _: warm_up(dispatcher, model_of(engine), gently=gently))
    assert len(engine.on("aside")) == 5
    if sys.platform == "linux":
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert {nice for _, nice, _ in engine.on("aside")} == {19 if gently else own}
        assert {nice for _, nice, _ in engine.on(INFERENCE)} == {own}


def test_one_that_is_bound_to_its_thread_is_warmed_there() -> None:
    engine = Noting(thread_safe=False)
    with_dispatcher(lambda dispatcher, _: warm_up(dispatcher, model_of(engine), gently=True))
    assert not engine.on("aside")
    assert len(engine.on(INFERENCE)) > 5


def test_beside_a_serving_model_no_full_batch_takes_the_inference_thread() -> None:
    first, later = Noting(), Noting()

    async def warm(dispatcher: Dispatcher, thread: InferenceThread) -> None:
        singles = 20

        def let_two_wait() -> None:
            """Hold the first run of those that come together until two more wait behind it."""
            if len(first.on(INFERENCE)) == singles + 1:
                deadline = time.monotonic() + WAIT_SECONDS
                while thread.depth < 2 and time.monotonic() < deadline:
                    time.sleep(0.001)

        first.before_run = let_two_wait
        await warm_up(dispatcher, model_of(first))

    with_dispatcher(warm)
    with_dispatcher(lambda dispatcher, _: warm_up(dispatcher, model_of(later), gently=True))
    assert max(rows for _, _, rows in first.on(INFERENCE)) > 1
    assert {rows for _, _, rows in later.on(INFERENCE)} == {1}
    assert 0 < len(later.on(INFERENCE)) < len(first.on(INFERENCE)) / 3


def test_its_requests_wait_until_no_other_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The serving model is at work while another request waits; the warm-up's comes last, though it came first."""
    monkeypatch.setattr(thread_module, "PATIENCE_SECONDS", 3600.0)
    serving, new = FakeEngine(), FakeEngine()
    order: list[str] = []

    class Ordered(FakeEngine):
        def run(self, batch: BatchArrays) -> Arrays:
            if threading.current_thread().name == INFERENCE:
                order.append("warm-up")
            return super().run(batch)

    async def work(dispatcher: Dispatcher, thread: InferenceThread) -> None:
        serving.hold.clear()
        row = {"valid": np.ones(15, np.bool_)}
        running = asyncio.create_task(dispatcher.run(serving, row))
        while not serving.batches:
            await asyncio.sleep(0.001)
        warming = asyncio.create_task(warm_up(dispatcher, model_of(Ordered()), gently=True))
        while thread.depth < 1:
            await asyncio.sleep(0.001)
        behind = asyncio.create_task(dispatcher.run(new, row))
        while thread.depth < 2:
            await asyncio.sleep(0.001)
        behind.add_done_callback(lambda _: order.append("request"))
        serving.hold.set()
        await asyncio.gather(running, behind, warming)

    with_dispatcher(work)
    assert order.index("request") <= 1, "the run may begin before the request's callback is called"
    assert len(order) > 2


def test_one_that_hangs_can_be_given_up_and_the_inference_thread_is_free() -> None:
    engine, serving = FakeEngine(), FakeEngine()
    engine.hold.clear()

    async def work(dispatcher: Dispatcher, _: InferenceThread) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await warm_up(dispatcher, model_of(engine), gently=True)
        await dispatcher.run(serving, {"valid": np.ones(15, np.bool_)})

    started = time.monotonic()
    try:
        with_dispatcher(work)
        assert time.monotonic() - started < 9
    finally:
        engine.hold.set()


@pytest.mark.parametrize("thread_safe", [True, False])
def test_where_the_engine_hangs_it_says_so_at_once(thread_safe: bool) -> None:
    async def work(dispatcher: Dispatcher, thread: InferenceThread) -> None:
        thread.give_up(EngineError("the engine hangs in model tiny 1"))
        with pytest.raises(BundleError, match="the engine hangs in model tiny 1"):
            await warm_up(dispatcher, model_of(Noting(thread_safe=thread_safe)), gently=True)

    with_dispatcher(work)


def test_a_failing_run_refuses_the_bundle() -> None:
    engine = FakeEngine()
    engine.error = RuntimeError("no such kernel")
    with pytest.raises(BundleError, match="no such kernel"):
        with_dispatcher(lambda dispatcher, _: warm_up(dispatcher, model_of(engine)))


def test_a_model_is_warmed_up_with_its_catalogue_whatever_the_width_of_its_embeddings(tmp_path: Path) -> None:
    catalogues, engine = Catalogues(), FakeEngine()
    catalogue = open_catalogue(tmp_path / "1", [item(candidate(i)) for i in range(5)])
    catalogues.swap({catalogue.manifest.fingerprint: catalogue})
    with_dispatcher(lambda dispatcher, _: warm_up(dispatcher, fake_model(engine), catalogues=catalogues))
    widths = {batch["embeddings"].shape[-1] for batch in engine.batches}
    assert catalogue.manifest.embedding_width in widths
