"""Who gets in: when a queue counts as standing, and what is shed then."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.engine import BatchArrays
from service.timing import admission as module
from service.timing.admission import Admission, AdmissionOptions, AdmissionWindow, QueueDelay, Ticket
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import FakeEngine, Live, Reply, fake_model, live_app, make_settings
from tests.service.raw import connected
from tests.service.requests import check_list, request
from tests.service.tiny_bundle import Arrays
from tests.service.transport.test_transport import eventually

TARGET, INTERVAL = 0.005, 0.1
LONG, SHORT = 0.02, 0.001


def delay() -> QueueDelay:
    return QueueDelay(target_seconds=TARGET, interval_seconds=INTERVAL)


def feed(queue: QueueDelay, waits: list[float], start: float, span: float = INTERVAL) -> float:
    """Note `waits` evenly over `span` from `start` on; returns the end of it."""
    for i, seconds in enumerate(waits):
        queue.note(seconds, start + i * span / len(waits))
    return start + span


def test_nothing_stands_before_anybody_has_come() -> None:
    assert not delay().standing(0.0)
    assert not delay().standing(1e6)


def test_a_burst_that_empties_again_is_no_standing_queue() -> None:
    queue, now = delay(), 50.0
    for _ in range(20):
        # Somebody in every interval found no queue, however long the others waited.
        now = feed(queue, [SHORT, LONG, 10 * LONG, LONG], now)
        assert not queue.standing(now)


def test_a_queue_in_which_everybody_waits_for_a_whole_interval_stands() -> None:
    queue = delay()
    middle = feed(queue, [LONG] * 5, 50.0, INTERVAL / 2)
    assert not queue.standing(middle), "an interval has to pass first"
    end = feed(queue, [LONG] * 20, middle, 2 * INTERVAL)
    assert queue.standing(end)


def test_looking_changes_nothing() -> None:
    looked, left_alone, now = delay(), delay(), 50.0
    for waits in ([LONG] * 5, [LONG] * 5, [SHORT], [LONG], [SHORT] * 3):
        for queue in (looked, left_alone):
            end = feed(queue, waits, now)
            for k in range(20 if queue is looked else 0):
                queue.standing(end + k * INTERVAL / 9)
        now = end + INTERVAL / 7
        assert looked.standing(now) == left_alone.standing(now)


def test_it_ends_only_when_some_intervals_in_a_row_were_calm() -> None:
    queue = delay()
    now = feed(queue, [LONG] * 30, 50.0, 3 * INTERVAL)
    assert queue.standing(now)
    now = feed(queue, [SHORT] * 10, now)
    assert queue.standing(now), "one calm interval could be chance"
    now = feed(queue, [LONG] * 10, now)
    now = feed(queue, [SHORT] * 100, now, 6 * INTERVAL)
    assert not queue.standing(now)


def test_it_ends_when_nobody_comes_any_more() -> None:
    queue = delay()
    now = feed(queue, [LONG] * 30, 50.0, 3 * INTERVAL)
    assert queue.standing(now)
    assert not queue.standing(now + 10 * INTERVAL)
    assert not queue.standing(now + 1e6)


@given(
    waits=st.lists(st.tuples(st.floats(0, 3 * INTERVAL), st.floats(0, 4 * TARGET)), max_size=60),
    start=st.floats(0.001, 1e5),
)
def test_it_never_stands_while_all_waits_are_below_the_target_and_always_once_all_are_above(
    waits: list[tuple[float, float]], start: float
) -> None:
    low, high, now = delay(), delay(), start
    for pause, seconds in waits:
        now += pause
        low.note(min(seconds, TARGET), now)
        high.note(2 * TARGET + seconds, now)
        assert not low.standing(now)
    if waits and now - start > 2 * INTERVAL and all(pause < INTERVAL for pause, _ in waits):
        assert high.standing(now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A list whose only item is the time as admission sees it."""
    now = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


def crowd(admission: Admission, clock: list[float], window: int = 4) -> None:
    """A standing queue, and answers that are late once more than `window` are in progress."""
    for _ in range(1000):
        admission.waited(LONG)
        tickets = [admission.enter() for _ in range(min(16, 2 * window))]
        for ticket in tickets:
            admission.leave()
            admission.ended(ticket, late=ticket.in_flight > window)
        clock[0] += 0.01


def admit(**options: Any) -> Admission:
    return Admission(AdmissionOptions(**{"limit": 16, **options}))


def let_in(admission: Admission, most: int) -> int:
    """How many come in one after the other before one is refused; none stays."""
    entered = 0
    while entered < most and isinstance(admission.admit(), Ticket):
        entered += 1
    for _ in range(entered):
        admission.leave()
    return entered


def test_a_standing_queue_sheds_what_could_not_be_answered_in_time_and_no_more(clock: list[float]) -> None:
    admission = admit()
    crowd(admission, clock, window=4)
    assert admission.overloaded
    assert 3 <= let_in(admission, 16) <= 5
    assert isinstance(admission.admit(), Ticket), "an idle service lets everybody in"


def test_without_a_standing_queue_nothing_is_shed_however_many_are_in(clock: list[float]) -> None:
    admission = admit()
    crowd(admission, clock)
    clock[0] += 60
    assert let_in(admission, 20) == 16
    for _ in range(16):
        admission.enter()
    assert admission.admit() == "overloaded", "the hard cap holds all the same"


def test_shedding_goes_on_while_it_is_what_keeps_the_queue_short(clock: list[float]) -> None:
    admission = admit()
    crowd(admission, clock)
    for _ in range(100):
        admission.waited(SHORT)
        assert let_in(admission, 16) < 16
        clock[0] += 0.01
    for _ in range(100):
        admission.waited(SHORT)  # Nobody is refused any more.
        clock[0] += 0.01
    assert not admission.overloaded


def test_where_deadlines_are_only_observed_nothing_is_shed_but_the_cap_holds(clock: list[float]) -> None:
    admission = admit(enforce=False)
    crowd(admission, clock)
    for _ in range(16):
        assert isinstance(admission.admit(), Ticket)
    assert admission.would_shed()
    assert admission.admit() == "overloaded"


def test_requests_of_batches_come_in_while_no_queue_stands_and_take_no_place_of_others(clock: list[float]) -> None:
    admission = admit(limit=4)
    assert [admission.admit_giving_way() for _ in range(5)] == [None] * 4 + ["overloaded"]
    assert admission.in_flight == 0
    assert let_in(admission, 9) == 4
    for _ in range(4):
        admission.leave_giving_way()
    for _ in range(4):
        admission.enter()
    assert admission.admit_giving_way() == "overloaded"
    standing = admit()
    crowd(standing, clock)
    assert standing.admit_giving_way() == "shed"
    assert standing.giving_way == 0


@pytest.mark.long
@given(capacity=st.integers(2, 60), start=st.integers(2, 64))
def test_the_window_finds_what_can_be_answered_in_time(capacity: int, start: int) -> None:
    window = AdmissionWindow(64)
    window.size = float(start)
    sizes = []
    for _ in range(20_000):
        in_flight = int(window.size)
        window.ended(Ticket(in_flight, window.cuts), late=in_flight > capacity)
        sizes.append(window.size)
    last = sizes[-4000:]
    assert max(last) < capacity + 2
    assert min(last) >= max(2.0, 0.84 * capacity)


def test_hiccups_of_the_machine_do_not_close_the_window() -> None:
    window = AdmissionWindow(64)
    for _ in range(5000):
        window.ended(Ticket(max(1, int(window.size)), window.cuts), late=True)
    assert window.size == 2


def test_a_whole_batch_that_is_late_cuts_the_window_once_and_a_quiet_time_does_not_widen_it() -> None:
    window = AdmissionWindow(64)
    window.size = 20.0
    for n in range(12, 20):
        window.ended(Ticket(n, 0), late=True)
    assert window.size == pytest.approx(0.85 * 12)
    for _ in range(500):
        window.ended(Ticket(2, window.cuts), late=False)
    assert window.size == pytest.approx(0.85 * 12)


def test_who_came_in_beside_the_window_says_nothing_of_it() -> None:
    window = AdmissionWindow(64)
    window.size = 5.0
    for _ in range(100):
        window.ended(Ticket(30, window.cuts), late=True)
    assert window.size == 5.0


class Slow(FakeEngine):
    """One request at a time, 4 ms each."""

    largest_batch = 1

    def run(self, batch: BatchArrays) -> Arrays:
        time.sleep(0.004)
        return super().run(batch)


def test_servers_of_tests_shed_nothing_unless_a_test_asks_for_it() -> None:
    settings = make_settings()
    assert settings.queue_target_ms > max(settings.budget_ms, settings.batch_budget_ms)
    assert make_settings(queue_target_ms=5).queue_target_ms == 5


def test_more_than_can_be_answered_in_time_is_shed_with_retry_after_and_it_recovers() -> None:
    """A target next to nothing makes any queue a standing one, so this hangs on no timing but the engine's own."""
    stop, replies = threading.Event(), list[Reply]()

    def ask(live: Live) -> None:
        with connected(live.port) as client:
            while not stop.is_set():
                client.ask(request())
                replies.append(client.answer())

    with live_app(fake_model(Slow()), budget_ms=19, queue_target_ms=0.001, queue_interval_ms=20) as live:
        threads = [threading.Thread(target=ask, args=(live,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: live.series("rerank_overloaded") == 1)
            eventually(lambda: (live.series("rerank_rejected_total", reason="shed") or 0) > 20)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        for reply in replies:
            if reply.status != 200:
                assert_problem(reply, 503, "shed")
                assert reply.headers["retry-after"] == "1"
            else:
                check_list(request(), reply.json)
        eventually(lambda: live.series("rerank_in_flight") == 0)
        eventually(lambda: live.series("rerank_overloaded") == 0)
        for _ in range(5):
            assert live.post(request()).status == 200
        shed = sum(reply.status == 503 for reply in replies)
        assert live.series("rerank_rejected_total", reason="shed") == shed
        assert len(live.records) == len(replies) + 5
