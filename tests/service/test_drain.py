"""The way out: whoever has asked is answered, whoever has connected in time is let in, and nothing is left behind."""

from __future__ import annotations

import json
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from models.contract.serving import BATCH_PATH, MOST_REQUESTS
from service.telemetry.records import RequestRecord
from service.transport.protocol import TimedProtocol
from tests.service.live import WAIT_SECONDS, FakeEngine, Reply, fake_model, live_app
from tests.service.raw import Connection, connected, connections, head, post
from tests.service.requests import check_list, request
from tests.service.test_process import SERVE, running
from tests.service.transport.test_transport import eventually

QUIET = 0.3
LONG = 30.0
"""Where a connection that is quiet for some time must not be closed, however slow the test is."""


def ends_with(reply: Reply) -> bool:
    return reply.headers.get("connection") == "close"


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    yield made
    made.hold.set()


def hold_one(engine: FakeEngine, client: Connection) -> None:
    """`client` asks for a list of 3, and the engine keeps it."""
    engine.hold.clear()
    client.ask(request(3))
    eventually(lambda: len(engine.batches) == 1)


def test_a_silent_connection_is_closed_after_a_while_and_then_the_server_ends() -> None:
    with live_app(fake_model(), drain_quiet_seconds=QUIET, drain_seconds=30) as live:
        with connected(live.port) as new, connected(live.port) as kept:
            kept.ask(request())
            assert not ends_with(kept.answer())
            started = time.monotonic()
            live.stop()
            assert kept.read() is None
            assert new.read() is None
            assert QUIET - 0.1 < time.monotonic() - started < WAIT_SECONDS
        eventually(live.ended)


def test_what_is_asked_meanwhile_is_answered_and_ends_the_connection(engine: FakeEngine) -> None:
    with live_app(fake_model(engine), drain_quiet_seconds=LONG) as live, connections(live.port, 3) as clients:
        first, second, third = clients
        second.ask(request())
        assert not ends_with(second.answer())
        engine.batches.clear()
        hold_one(engine, first)
        live.drain()
        second.ask(request(4))
        third.send(head(2) + b"{")
        engine.hold.set()
        third.send(b"}")
        for client, status in ((first, 200), (second, 200), (third, 422)):
            reply = client.answer()
            assert reply.status == status
            assert ends_with(reply)
            assert client.read() is None
        eventually(live.ended)


def test_it_waits_for_what_is_in_progress_but_not_for_ever(engine: FakeEngine) -> None:
    with live_app(fake_model(engine), drain_seconds=2, drain_quiet_seconds=0) as live, connected(live.port) as client:
        hold_one(engine, client)
        live.stop()
        time.sleep(0.5)
        assert not live.ended()
        eventually(live.ended)
        engine.hold.set()


def test_a_batch_in_progress_is_answered_whole_and_ends_its_connection(engine: FakeEngine) -> None:
    with live_app(fake_model(engine), drain_seconds=WAIT_SECONDS) as live, connected(live.port) as client:
        engine.hold.clear()
        client.send(post({"requests": [request(3)] * MOST_REQUESTS}, path=BATCH_PATH))
        eventually(lambda: len(engine.batches) == 1)
        live.drain()
        engine.hold.set()
        reply = client.answer()
        assert ends_with(reply)
        assert [result["status"] for result in reply.json["results"]] == [200] * MOST_REQUESTS
        assert all(result["response"]["degraded"] is None for result in reply.json["results"])
        assert client.read() is None
        eventually(live.ended)


def test_pipelined_requests_are_all_answered_and_the_last_answer_ends_the_connection(engine: FakeEngine) -> None:
    with live_app(fake_model(engine)) as live, connected(live.port) as client:
        hold_one(engine, client)
        client.send(post(request(4)))
        eventually(lambda: bool(live.series("rerank_unfinished_bytes")))  # It has been read.
        live.drain()
        engine.hold.set()
        replies = [client.answer() for _ in range(2)]
        for n, reply in enumerate(replies, start=3):
            check_list(request(n), reply.json)
        assert [ends_with(reply) for reply in replies] == [False, True]
        assert client.read() is None


def test_a_request_behind_one_in_progress_while_it_drains_is_answered_too(engine: FakeEngine) -> None:
    with live_app(fake_model(engine)) as live, connected(live.port) as client:
        hold_one(engine, client)
        live.drain()
        client.send(post(request(4)))
        eventually(lambda: bool(live.series("rerank_unfinished_bytes")))  # It has been read.
        engine.hold.set()
        replies = [client.answer() for _ in range(2)]
        assert [ends_with(reply) for reply in replies] == [False, True]


def test_requests_that_arrive_together_while_it_drains_are_all_answered(engine: FakeEngine) -> None:
    with live_app(fake_model(engine), drain_quiet_seconds=LONG) as live, connections(live.port, 2) as (held, client):
        client.ask(request())
        client.answer()
        engine.batches.clear()
        hold_one(engine, held)
        live.drain()
        client.send(post(request(4)) * 3)
        engine.hold.set()
        replies = [client.answer() for _ in range(3)]
        assert [ends_with(reply) for reply in replies] == [False, False, True]
        assert ends_with(held.answer())


def test_a_client_that_said_close_itself_gets_its_one_answer(engine: FakeEngine) -> None:
    with live_app(fake_model(engine)) as live, connected(live.port) as client:
        engine.hold.clear()
        client.send(post(request(3), {"Connection": "close"}) + post(request(4)))
        eventually(lambda: len(engine.batches) == 1)
        live.drain()
        engine.hold.set()
        assert ends_with(client.answer())
        assert client.read() is None


def test_a_refusal_while_it_drains_ends_the_connection(engine: FakeEngine) -> None:
    with (
        live_app(fake_model(engine), max_in_flight=1, drain_quiet_seconds=LONG) as live,
        connections(live.port, 2) as (held, client),
    ):
        hold_one(engine, held)
        live.drain()
        client.ask(request())
        reply = client.answer()
        assert reply.status == 503
        assert ends_with(reply)
        assert client.read() is None
        engine.hold.set()
        assert ends_with(held.answer())


def test_who_waits_in_the_backlog_when_it_stops_is_let_in_and_answered() -> None:
    """The event loop is kept busy, so that nobody is accepted until the server has been told to stop."""
    entered, leave = threading.Event(), threading.Event()

    def keep_busy(_: RequestRecord) -> None:
        if not entered.is_set():
            entered.set()
            assert leave.wait(WAIT_SECONDS)

    with live_app(fake_model(), observers=(keep_busy,)) as live, connected(live.port) as first:
        first.ask(request())
        assert entered.wait(WAIT_SECONDS)
        with connections(live.port, 30) as waiting:
            for client in waiting:
                client.ask(request(4))
            live.stop()
            time.sleep(0.3)
            leave.set()
            for client in waiting:
                check_list(request(4), client.answer().json)
        eventually(live.ended)


@dataclass
class Caller:
    """A thread that asks on one connection for as long as it may, and notes what it was answered."""

    port: int
    asks: bytes = field(default_factory=lambda: post(request()))
    replies: list[Reply] = field(default_factory=list)
    lost: int = 0

    def run(self) -> None:
        with connected(self.port) as client:
            client.send(self.asks)
            while (reply := self._read(client)) is not None:
                self.replies.append(reply)
                if ends_with(reply):
                    return
                client.send(self.asks)

    def _read(self, client: Connection) -> Reply | None:
        try:
            reply = client.read()
        except OSError:
            reply = None
        self.lost += reply is None
        return reply


def descendants(mark: str) -> list[int]:
    """Processes that have `mark` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_under_load_no_request_is_lost_and_no_process_is_left(bundle: Path, number: signal.Signals) -> None:
    mark = uuid.uuid4().hex
    patient = ("--budget-ms", "30000", "--batch-budget-ms", "30000", "--queue-target-ms", "60000")
    with running(bundle.parents[1], SERVE, *patient, STOP_TEST_MARK=mark) as process:
        process.wait_until_ready()
        assert descendants(mark)
        batch = post({"requests": [request()] * 12}, path=BATCH_PATH)
        callers = [*(Caller(process.port) for _ in range(8)), Caller(process.port, batch)]
        threads = [threading.Thread(target=caller.run) for caller in callers]
        for thread in threads:
            thread.start()
        eventually(lambda: all(len(caller.replies) > 5 for caller in callers))
        process.popen.send_signal(number)
        for thread in threads:
            thread.join(WAIT_SECONDS)
        out, err = process.popen.communicate(timeout=WAIT_SECONDS)
        assert process.popen.returncode == 0
        assert not out
    assert [caller.lost for caller in callers] == [0] * len(callers)
    for caller in callers:
        assert {reply.status for reply in caller.replies} == {200}
        assert ends_with(caller.replies[-1])
    assert not descendants(mark)
    levels = {json.loads(line)["level"] for line in err.splitlines()}
    assert levels == {"info"}, err


def test_a_client_hears_that_its_silent_connection_ends_even_while_the_loop_does_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until it hears, it may send another request, and nobody would read that."""
    close, release = TimedProtocol.close_if_idle, threading.Event()

    def close_and_hold(protocol: TimedProtocol, quiet_seconds: float) -> None:
        close(protocol, quiet_seconds)
        if protocol.transport.is_closing():
            release.wait(WAIT_SECONDS)

    monkeypatch.setattr(TimedProtocol, "close_if_idle", close_and_hold)
    with live_app(fake_model(), drain_quiet_seconds=0.0) as live, connected(live.port) as client:
        client.ask(request())
        check_list(request(), client.answer().json)
        live.stop()
        try:
            assert client.read() is None
            assert not release.is_set()
        finally:
            release.set()
