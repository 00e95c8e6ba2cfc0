"""The compiled client against a real server that stalls, refuses, cuts and closes as a test scripts it."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest

from loadtest.rig.contender import Endpoint, free_port
from loadtest.rig.openloop.build import ClientUnavailable, client_program, why_unavailable
from loadtest.rig.openloop.client import ClientError, Load, _cpu_ticks, run_load, running
from loadtest.rig.openloop.window import DegradedField, Fault
from loadtest.rig.statistics import Latency
from tests.loadtest.scripted import DEGRADED_BODY, FULL_BODY, Action, Reply, scripted_server

pytestmark = pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))


def messages(*bodies: bytes) -> list[bytes]:
    endpoint = Endpoint(1, 1)
    return [endpoint.message(body) for body in bodies]


ONE = messages(b'{"n": 0}')
REFUSAL = Reply(503, b"{}", ("Content-Type: application/problem+json", "Retry-After: 1"))


def test_every_request_is_sent_once_and_recorded_once_in_the_order_of_the_messages() -> None:
    bodies = [b'{"n": %d}' % n + b" " * 20_000 * n for n in range(3)]
    with scripted_server() as server:
        window = run_load(server.port, messages(*bodies), Load(rate=100, seconds=0.9, connections=4))
    assert len(window) == 90
    assert len(server.bodies) == 90
    assert [server.bodies.count(body) for body in bodies] == [30, 30, 30]
    assert window.records["message"].tolist() == list(itertools.islice(itertools.cycle(range(3)), 90))
    assert (window.errors, window.statuses()) == (0, {200: 90})
    assert server.connections == 4, "connections are kept"


def test_arrivals_are_evenly_spaced() -> None:
    with scripted_server() as server:
        even = run_load(server.port, ONE, Load(rate=200, seconds=0.5))
    gaps = np.diff(even.records["intended"])
    assert set(gaps.tolist()) == {5_000_000}


def test_the_rate_can_change_during_a_run_without_a_gap() -> None:
    with scripted_server() as server:
        load = Load(rate=50, seconds=0.4, then=((200, 0.5), (100, 0.1)))
        window = run_load(server.port, ONE, load)
        later = run_load(server.port, ONE, load, warm_up=0.1)
    assert window.seconds == pytest.approx(1.0)
    due = (window.records["intended"] - window.start_ns) / 1e9
    expected = [*np.arange(20) / 50, *(0.4 + np.arange(100) / 200), *(0.9 + np.arange(10) / 100)]
    assert due.tolist() == pytest.approx(expected, abs=1e-6)
    assert len(later) == 130, "only the first stretch is longer for a warm-up"
    assert later.seconds == pytest.approx(1.0)
    with pytest.raises(ValueError, match="then"):
        Load(seconds=1, then=((100, 1),))


def test_a_stall_shows_in_every_request_that_arrived_during_it() -> None:
    """A closed-loop measurement would show one slow request; here about a fifth of the second is slow."""
    with scripted_server(lambda n: Reply(stall=0.2 if n == 20 else 0.0)) as server:
        for connections in (1, 64):
            server.bodies.clear()
            window = run_load(server.port, ONE, Load(rate=100, seconds=1, connections=connections))
            slow = window.times_ms() > 20
            assert slow.sum() >= 15, f"{connections} connections"
            during = window.records["intended"][20:40] - window.records["intended"][20]
            floor = 200 - during / 1e6
            assert (window.times_ms()[20:38] >= floor[:18] - 1).all(), "counted from the intended start"


def test_a_request_waits_for_a_free_connection_and_the_wait_counts() -> None:
    with scripted_server(lambda _: Reply(stall=0.02)) as server:
        window = run_load(server.port, ONE, Load(rate=100, seconds=0.4, connections=1))
    waited = window.records["sent"] - window.records["intended"]
    assert waited[-1] > 200e6
    assert (window.times_ms() >= waited / 1e6).all()
    assert window.errors == 0


def test_what_was_never_answered_or_never_sent_is_an_error() -> None:
    with scripted_server(lambda _: Reply(action="silent")) as server:
        window = run_load(server.port, ONE, Load(rate=100, seconds=0.1, connections=4, drain=0.2))
    assert window.faults() == {"timeout": 4, "unsent": 6}
    assert window.errors == 10
    assert all(math.isinf(t) for t in window.times_ms())
    with pytest.raises(ValueError, match="no response times"):
        Latency.of(window.answered_ms())


@pytest.mark.parametrize(
    ("action", "fault"), [("close", Fault.CLOSED), ("reset", Fault.RESET), ("cut", Fault.CUT)], ids=str
)
def test_a_connection_that_ends_early_is_told_apart_and_replaced(action: Action, fault: Fault) -> None:
    with scripted_server(lambda n: Reply(action=action if n == 3 else "answer")) as server:
        window = run_load(server.port, ONE, Load(rate=50, seconds=0.4, connections=1))
    assert window.records["error"].tolist() == [fault if n == 3 else 0 for n in range(20)]
    assert bool(window.records["fully_sent"].all())
    assert server.connections == 2


def test_an_idle_connection_that_the_server_closed_is_opened_again_without_an_error() -> None:
    with scripted_server(lambda _: Reply(action="answer and close")) as server:
        # Between two requests there is time for the close to arrive on a busy machine too.
        window = run_load(server.port, ONE, Load(rate=4, seconds=2, connections=1))
    assert window.errors == 0
    assert server.connections >= 8


def test_a_server_that_goes_away_leaves_requests_that_were_never_sent() -> None:
    with (
        scripted_server(lambda n: Reply(action="answer and close" if n >= 10 else "answer")) as server,
        running(server.port, ONE, Load(rate=100, seconds=1.5, connections=2)) as run,
    ):
        while len(server.bodies) < 30:
            time.sleep(0.01)
        server.stop()
        window = run.window()
    refused = window.records["error"] == Fault.CONNECT
    assert refused.any()
    assert not window.records["sent"][refused].any()
    assert not window.records["fully_sent"][refused].any()


def test_bodies_are_judged_and_can_be_kept() -> None:
    script = [Reply(), Reply(body=DEGRADED_BODY), Reply(body=b"{}"), REFUSAL]
    with scripted_server(lambda n: script[n % 4]) as server:
        window = run_load(server.port, ONE, Load(rate=100, seconds=0.4, connections=1, keep_bodies=True))
    assert (
        window.records["list"].tolist()
        == [DegradedField.NULL, DegradedField.YES, DegradedField.UNSAID, DegradedField.UNSAID] * 10
    )
    assert window.records["retry_after"].tolist() == [0, 0, 0, 1] * 10
    assert window.records["problem"].tolist() == [0, 0, 0, 1] * 10
    assert [ms for ms in window.records["infer_ms"].tolist() if not math.isnan(ms)] == [0.25] * 10
    assert (window.full(), window.degraded_share) == (10, 0.5)
    assert [window.body(i) for i in range(4)] == [reply.body for reply in script]


def test_chunked_answers_are_put_together() -> None:
    with scripted_server(lambda _: Reply(action="chunked", body=FULL_BODY * 3000)) as server:
        window = run_load(server.port, ONE, Load(rate=50, seconds=0.2, connections=1, keep_bodies=True))
    assert window.statuses() == {200: 10}
    assert window.body(9) == FULL_BODY * 3000
    assert server.connections == 1


def test_the_closed_loop_keeps_so_many_requests_in_flight() -> None:
    with scripted_server(lambda _: Reply(stall=0.005)) as server:
        window = run_load(server.port, ONE, Load(seconds=0.5, connections=4))
    assert window.errors == 0
    assert 0 < len(window) <= 104, "one server that takes 5 ms answers at most 100 in half a second"
    assert Latency.of(window.answered_ms()).p50 >= 15, "each waits for three others"
    assert set(window.records["connection"].tolist()) == {0, 1, 2, 3}


def test_the_closed_loop_ends_when_nobody_listens_any_more() -> None:
    with (
        scripted_server(lambda n: Reply(action="close" if n >= 5 else "answer")) as server,
        running(server.port, ONE, Load(seconds=20, connections=2)) as run,
    ):
        while len(server.bodies) < 10:
            time.sleep(0.01)
        server.stop()
        window = run.window()
    assert window.records["error"].tolist().count(Fault.CONNECT) == 2, "once for each connection"


def test_the_first_second_can_be_left_out() -> None:
    with scripted_server() as server:
        window = run_load(server.port, ONE, Load(rate=100, seconds=0.5), warm_up=0.3)
    assert len(window) == 50
    assert window.seconds == pytest.approx(0.5)
    assert len(server.bodies) == 80


def test_the_client_says_what_it_cost_and_how_quiet_its_cpu_was() -> None:
    with scripted_server() as server:
        window = run_load(server.port, ONE, Load(rate=200, seconds=0.5, cpu=0))
    assert 0 < window.client_cpu_us < 5000
    assert 100 < window.hiccups.count < 600, "a sample takes a little over a millisecond"
    assert 0 <= window.hiccups.p99_ms <= window.hiccups.max_ms
    assert all(0 <= share <= 1 for share in window.steal.values())
    assert len(window) == 100


def test_a_cpu_is_found_by_its_number_where_one_is_offline(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu2 2 2 3 4 5 6 7 8 9 10\nintr 1\n", "ascii")
    ticks = _cpu_ticks(tmp_path / "stat")
    assert ticks == {0: [1, 2, 3, 4, 5, 6, 7, 8], 2: [2, 2, 3, 4, 5, 6, 7, 8]}


def test_nobody_listening_and_a_cpu_that_is_not_there_are_named() -> None:
    with pytest.raises(ClientError, match="cannot connect"):
        run_load(free_port(), ONE, Load(rate=1, seconds=0.1))
    with scripted_server() as server, pytest.raises(ClientError, match="--cpu 900"):
        run_load(server.port, ONE, Load(rate=1, seconds=0.1, cpu=900))


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ClientUnavailable, match="needs a C compiler"):
        client_program()


def test_it_is_compiled_once_into_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = client_program()
    assert program.parent == tmp_path / "listwright"
    before = program.stat().st_mtime_ns
    assert client_program().stat().st_mtime_ns == before


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ClientUnavailable, match="XDG_CACHE_HOME"):
        client_program()
