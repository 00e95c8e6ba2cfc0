"""Which rung answers, and when: nothing that the engine does makes an answer late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from service.contract.schemas import Degraded
from service.inference.engine import BatchArrays
from service.telemetry.records import RequestRecord
from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.raw import connected, connections, post
from tests.service.requests import check_list, request
from tests.service.tiny_bundle import Arrays
from tests.service.transport.test_transport import eventually

BUDGET = 0.019
STALL = 0.05
ROUNDS = 8
ATTEMPTS = 5


class Stalling(FakeEngine):
    """Every run takes so many seconds, as a machine's other work may make it."""

    stall = STALL

    def run(self, batch: BatchArrays) -> Arrays:
        time.sleep(self.stall)
        return super().run(batch)


def degraded(reply: Any) -> Degraded | None:
    found = reply.json["degraded"]
    return None if found is None else Degraded(found["reason"], found["level"])


def reason(reply: Any) -> str | None:
    """Why the list is not the model's. Whose it is instead depends on how fast the machine is just then."""
    found = degraded(reply)
    return None if found is None else found.reason


def ask_in_rounds(live: Live, clients: int) -> list[Any]:
    """All clients ask, one a millisecond, and again when all have their answers: up to 16 wait at the same time.

    They look for them only once these must be there: clients share the server's interpreter, and must not hold it up.
    """
    replies = []
    sent = request(12)
    raw = post(sent)
    with connections(live.port, clients) as open_:
        for _ in range(ROUNDS):
            for client in open_:
                client.send(raw)
                time.sleep(0.001)
            time.sleep(2 * BUDGET)
            replies += [client.answer() for client in open_]
    for reply in replies:
        assert reply.status == 200
        check_list(sent, reply.json)
    return replies


class LoopLag:
    """The most by which the server's event loop was late for a timer: what no deadline can be kept against.

    An observer, so that it runs on that loop; it begins with the first record.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, _: RequestRecord) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._again()

    def _again(self) -> None:
        assert self._loop is not None
        self._loop.call_later(0.001, self._tick, time.perf_counter() + 0.001)

    def _tick(self, due: float) -> None:
        self.worst = max(self.worst, time.perf_counter() - due)
        self._again()


@pytest.mark.parametrize("clients", [1, 8, 16])
def test_with_a_stalled_engine_every_answer_leaves_within_the_budget_and_says_which_rung_it_is(clients: int) -> None:
    """Late by no more than two turns of the event loop, as late as it itself was for a timer meanwhile.

    Without the ladder an answer takes more than twice the budget while the loop sleeps.
    """
    for _ in range(ATTEMPTS):
        lag = LoopLag()
        with live_app(fake_model(Stalling()), observers=(lag,), budget_ms=BUDGET * 1e3) as live:
            replies = [live.post(request(12)), *ask_in_rounds(live, clients)]
            eventually(lambda: len(live.records) == len(replies))  # noqa: B023
            check_rungs(live, replies)
            latest = max(record.seconds for record in live.records[1:])
        if latest <= BUDGET + 2 * lag.worst:
            return
    pytest.fail(f"the last of {ATTEMPTS} attempts took up to {latest:.4f} s, and the loop was {lag.worst:.4f} s late")


def check_rungs(live: Live, replies: list[Any]) -> None:
    """Body, header, record and counter say the same of every answer."""
    rungs = [degraded(reply) for reply in replies]
    assert None not in rungs
    for reply, rung in zip(replies, rungs, strict=True):
        assert rung is not None
        assert rung.reason in ("deadline", "wait")
        assert reply.headers["x-listwright-degraded"] == f"{rung.reason}; level={rung.level}"
        assert {item["source"] for item in reply.json["items"]} == {rung.level}
        assert reply.json["value"] == {"click": 0, "conversion": 0, "gmv": 0}
    assert rungs[0] is not None
    assert rungs[0].reason == "deadline", "an idle engine is given a try"
    for reason in ("deadline", "wait"):
        count = sum(rung is not None and rung.reason == reason for rung in rungs)
        assert live.series("rerank_degraded_total", reason=reason) == count
        assert sum(record.degraded == reason for record in live.records) == count
    assert {record.outcome for record in live.records} == {"degraded"}
    assert len(live.records) == len(replies)


def test_once_the_engine_is_well_again_the_model_answers_again() -> None:
    engine = Stalling()
    with live_app(fake_model(engine), budget_ms=1e3 * STALL) as live:
        first = degraded(live.post(request()))
        assert first is not None
        engine.stall = 0.0
        eventually(lambda: degraded(live.post(request())) is None)


@pytest.fixture
def stuck() -> Iterator[FakeEngine]:
    engine = FakeEngine()
    engine.hold.clear()
    yield engine
    engine.hold.set()


@pytest.mark.parametrize("timeout_ms", [0.01, 1e-9])
def test_with_no_time_at_all_the_list_is_that_of_the_request(timeout_ms: float) -> None:
    with live_app(fake_model(Stalling())) as live:
        reply = live.post(request(timeout_ms=timeout_ms))
        assert degraded(reply) == Degraded("deadline", "input")
        assert [item["index"] for item in reply.json["items"]] == list(range(5))
        assert reply.headers["x-listwright-degraded"] == "deadline; level=input"
        assert live.series("rerank_list_items_total", source="input") == 5
        assert live.series("rerank_degraded_total", reason="deadline") == 1


def test_what_is_given_up_before_it_starts_is_never_run(stuck: FakeEngine) -> None:
    with live_app(fake_model(stuck)) as live, connected(live.port) as first, connected(live.port) as second:
        first.ask(request(3))
        eventually(lambda: len(stuck.batches) == 1)
        second.ask(request(4, timeout_ms=50))
        reply = second.answer()
        assert reason(reply) == "deadline"
        assert live.series("rerank_dropped_total", reason="deadline") == 1
        stuck.hold.set()
        assert degraded(first.answer()) is None
        assert degraded(live.post(request(5))) is None
    assert [int(batch["valid"].sum()) for batch in stuck.batches] == [3, 5]


def test_a_run_that_has_begun_is_given_up_but_not_counted_as_dropped(stuck: FakeEngine) -> None:
    with live_app(fake_model(stuck)) as live:
        assert reason(live.post(request(timeout_ms=50))) == "deadline"
        assert live.series("rerank_dropped_total", reason="deadline") == 0
        stuck.hold.set()


def test_what_cannot_be_done_in_time_is_not_even_queued() -> None:
    engine = Stalling()
    engine.largest_batch = 1
    with live_app(fake_model(engine)) as live, connected(live.port) as first:
        assert degraded(live.post(request())) is None, "the service has to learn how long a run takes"
        first.ask(request())
        eventually(lambda: live.series("rerank_in_flight") == 1 and live.series("rerank_queue_depth") == 0)
        reply = live.post(request(timeout_ms=20))
        assert reason(reply) == "wait"
        assert degraded(first.answer()) is None
    assert len(engine.batches) == 2
    assert live.series("rerank_degraded_total", reason="wait") == 1


def test_in_the_dark_the_models_answer_comes_late_and_undegraded_and_is_only_counted() -> None:
    engine = Stalling()
    engine.largest_batch = 1
    with live_app(fake_model(engine), budget_ms=BUDGET * 1e3, deadline_mode="observe") as live:
        reply = live.post(request(timeout_ms=5))
        assert degraded(reply) is None
        assert {item["source"] for item in reply.json["items"]} == {"model"}
        assert "x-listwright-degraded" not in reply.headers
        assert live.records[0].seconds > STALL
        assert (live.records[0].outcome, live.records[0].would_degrade) == ("ok", "deadline")
        with connections(live.port, 3) as clients:
            for client in clients:
                client.ask(request())
            assert [degraded(client.answer()) for client in clients] == [None] * 3
        eventually(lambda: len(live.records) == 4)
        would = {r: live.series("rerank_would_degrade_total", reason=r) for r in ("deadline", "wait")}
        assert sum(count or 0 for count in would.values()) == 4
        assert would["wait"], "those behind a run that takes too long could not have been done in time"
        for reason in ("deadline", "wait", "model-error"):
            assert live.series("rerank_degraded_total", reason=reason) == 0
        assert live.series("rerank_dropped_total", reason="deadline") == 0


def test_in_the_dark_a_failing_engine_still_leaves_the_list_to_the_formula() -> None:
    engine = FakeEngine()
    engine.error = RuntimeError("no")
    with live_app(fake_model(engine), deadline_mode="observe") as live:
        assert degraded(live.post(request())) == Degraded("model-error", "formula")
        assert live.series("rerank_would_degrade_total", reason="deadline") == 0


def test_what_is_in_time_would_not_have_been_degraded() -> None:
    for mode in ("observe", "enforce"):
        with live_app(fake_model(), deadline_mode=mode) as live:
            assert degraded(live.post(request())) is None
            assert live.records[0].would_degrade is None


def test_bad_input_stays_bad_however_little_time_there_is() -> None:
    with live_app(fake_model()) as live:
        sent = request(timeout_ms=0.01)
        sent["candidates"][3]["price"] = -1
        assert live.post(sent).status == 422
        assert live.post(request(timeout_ms=0.01, model="nope")).status == 422


class Short(FakeEngine):
    """Answers for fewer requests than it was asked."""

    def run(self, batch: BatchArrays) -> Arrays:
        outputs = super().run(batch)
        return {name: array[:-1] for name, array in outputs.items()}


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_an_engine_that_answers_for_too_few_requests_has_failed(mode: str) -> None:
    with live_app(fake_model(Short()), deadline_mode=mode) as live, connected(live.port) as client:
        client.ask(request())
        assert degraded(client.answer()) == Degraded("model-error", "formula")


def test_deadlines_are_kept_while_another_request_keeps_the_event_loop_awake() -> None:
    """Requests with different deadlines, the later ones asked first: each is given up at its own."""
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine)) as live, connections(live.port, 4) as clients:
        for client, timeout_ms in zip(clients, (900, 600, 300, 100), strict=True):
            client.ask(request(timeout_ms=timeout_ms, request_id=str(timeout_ms)))
        for client in clients:
            reply = client.answer()
            assert reason(reply) == "deadline"
        engine.hold.set()
        eventually(lambda: len(live.records) == 4)
    assert [record.request_id for record in live.records] == ["100", "300", "600", "900"]
    for record in live.records:
        assert record.seconds > float(record.request_id) / 1e3 - 0.05, "not much too early either"
