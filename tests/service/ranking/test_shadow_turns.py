"""The shadow on the loop of the test: who is sampled, and what it gives way to."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from msgspec.structs import replace

from service.bundles.registry import Registry
from service.contract.decoding import decode_request
from service.contract.schemas import RerankRequest, RerankResponse
from service.inference.dispatcher import Dispatcher
from service.inference.engine import BatchArrays
from service.inference.thread import InferenceThread
from service.ranking.rerank import Reranker
from service.ranking.shadow import Shadow
from service.telemetry.records import ShadowRecord, Stopwatch
from service.timing.admission import Admission, AdmissionOptions
from tests.service.live import WAIT_SECONDS, FakeEngine, fake_model
from tests.service.requests import request
from tests.service.tiny_bundle import Arrays, Options


class Bench:
    """A shadow, `next`, with its surroundings; what is asked is answered by `tiny`."""

    def __init__(self, thread: InferenceThread, engine: FakeEngine, share: float, draws: Iterator[float]) -> None:
        self.records: list[ShadowRecord] = []
        self.registry = Registry()
        self.registry.publish(fake_model())
        self.registry.publish(fake_model(engine, Options(name="next")))
        self.admission = Admission(AdmissionOptions(limit=10, interval_seconds=0.5))
        dispatcher = Dispatcher(thread)
        self._reranker = Reranker(registry=self.registry, dispatcher=dispatcher, max_candidates=100)
        self.shadow = Shadow(
            name="next",
            version=None,
            share=share,
            registry=self.registry,
            dispatcher=dispatcher,
            admission=self.admission,
            budget_seconds=30,
            observe=self.records.append,
            draw=lambda: next(draws),
        )

    async def answer(self) -> tuple[RerankRequest, RerankResponse]:
        """A request and what it got."""
        asked = decode_request(json.dumps(request(model="tiny")).encode())
        clock = Stopwatch(time.perf_counter(), lag=0.0)
        clock.lap("decode")
        reranked = await self._reranker.rerank(asked, self._reranker.select(asked), clock, request_id="r")
        return asked, reranked.response

    async def outcomes(self, count: int) -> list[str]:
        """What has been noted, once there is so much of it; and no more comes at once."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.records) < count:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        return [record.outcome for record in self.records]


class Slow(FakeEngine):
    """An engine whose runs take 0.2 s at least."""

    def run(self, batch: BatchArrays) -> Arrays:
        time.sleep(0.2)
        return super().run(batch)


def on_loop(
    work: Callable[[Bench], Awaitable[None]],
    *,
    engine: FakeEngine | None = None,
    share: float = 1.0,
    draws: Iterator[float] | None = None,
) -> None:
    async def run(thread: InferenceThread) -> None:
        await work(Bench(thread, engine or FakeEngine(), share, draws or itertools.repeat(0.0)))

    with contextlib.closing(InferenceThread()) as thread:
        asyncio.run(run(thread))


def test_the_share_decides_who_is_sampled() -> None:
    async def work(at: Bench) -> None:
        for done in (1, 2, 2, 2):
            at.shadow.offer(*await at.answer())
            assert await at.outcomes(done) == ["scored"] * done

    on_loop(work, share=0.25, draws=iter([0.0, 0.2499, 0.25, 0.9]))


def test_a_share_of_one_takes_all_and_a_share_of_none_nobody() -> None:
    async def all_of_them(at: Bench) -> None:
        at.shadow.offer(*await at.answer())
        assert await at.outcomes(1) == ["scored"]

    async def nobody(at: Bench) -> None:
        at.shadow.offer(*await at.answer())
        assert await at.outcomes(0) == []

    on_loop(all_of_them, share=1.0, draws=iter([1 - 2**-53]))
    on_loop(nobody, share=0.0, draws=iter([0.0]))


def test_stopping_gives_up_what_is_in_progress_and_begins_no_more() -> None:
    engine = FakeEngine()

    async def work(at: Bench) -> None:
        at.registry.on_drain(at.shadow.stop)
        answer = await at.answer()
        engine.hold.clear()
        at.shadow.offer(*answer)
        while not engine.batches:
            await asyncio.sleep(0.001)
        at.registry.drain()
        assert await at.outcomes(1) == ["dropped"]  # While the engine is still at it.
        engine.hold.set()
        at.shadow.offer(*answer)
        assert await at.outcomes(1) == ["dropped"]
        assert len(engine.batches) == 1

    try:
        on_loop(work, engine=engine)
    finally:
        engine.hold.set()


def test_a_request_that_comes_before_its_turn_goes_first() -> None:
    engine = FakeEngine()

    async def work(at: Bench) -> None:
        at.shadow.offer(*await at.answer())
        at.admission.enter()
        assert await at.outcomes(1) == ["dropped"]
        assert engine.batches == []
        at.admission.leave()
        at.shadow.offer(*await at.answer())
        assert await at.outcomes(2) == ["dropped", "scored"]

    on_loop(work, engine=engine)


def test_none_is_begun_while_a_queue_stands() -> None:
    engine = FakeEngine()

    async def work(at: Bench) -> None:
        answer = await at.answer()
        at.admission.waited(1.0)
        async with asyncio.timeout(WAIT_SECONDS):
            while not at.admission.overloaded:
                await asyncio.sleep(0.001)
        at.shadow.offer(*answer)
        assert await at.outcomes(1) == ["dropped"]
        assert engine.batches == []

    on_loop(work, engine=engine)


@pytest.mark.parametrize(("request_seconds", "second"), [(14.95, "dropped"), (1.0, "scored")])
def test_none_is_begun_that_could_make_the_next_request_late(request_seconds: float, second: str) -> None:
    async def work(at: Bench) -> None:
        asked, answer = await at.answer()
        at.shadow.offer(asked, answer)
        assert await at.outcomes(1) == ["scored"]
        # One that takes twice as long must fit behind the shadow's 0.2 s into the 30 s.
        timings = replace(answer.timings_ms, total=1e3 * request_seconds)
        answer = replace(answer, timings_ms=timings)
        at.shadow.offer(asked, answer)
        assert await at.outcomes(2) == ["scored", second]

    on_loop(work, engine=Slow())


@pytest.mark.parametrize("retired", ["tiny", "next"])
def test_a_model_that_goes_meanwhile_is_no_fault(retired: str) -> None:
    async def work(at: Bench) -> None:
        answer = await at.answer()
        at.shadow.offer(*answer)
        at.registry.publish(fake_model(options=Options(name=retired, version="2")))
        assert await at.outcomes(1) == ["scored"]
        assert at.records[0].version == "1"

    on_loop(work)
