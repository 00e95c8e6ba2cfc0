"""Refusals are counted by client, key and reason in memory that is bounded."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.telemetry.refusal_log import OTHERS, SECONDS, RefusalKind, RefusalLog
from service.transport.connections import RefusedHead
from tests.service.telemetry.log_lines import Clock, fields_of


class Kept(RefusalLog):
    """A log of refusals with a test's clock, and what it wrote: time, kind and count."""

    def __init__(self, most: int = 256) -> None:
        self.clock = Clock()
        self.written: list[tuple[float, str, str, int]] = []
        super().__init__(write=self._keep, most=most, clock=self.clock, later=self.clock.later)

    def _keep(self, refused: RefusalKind) -> None:
        self.written.append((self.clock.now, refused.peer, refused.reason, refused.count))

    def note(self, peer: str, reason: str = "shed") -> None:
        self.add(peer, "none", reason, 503, "r", None)


def test_clients_and_reasons_have_lines_of_their_own() -> None:
    log = Kept()
    for _ in range(3):
        log.note("a")
        log.note("b")
        log.note("a", "overloaded")
    assert [line[1:] for line in log.written] == [("a", "shed", 1), ("b", "shed", 1), ("a", "overloaded", 1)]
    log.clock.pass_by(SECONDS)
    assert [line[1:] for line in log.written[3:]] == [("a", "shed", 2), ("b", "shed", 2), ("a", "overloaded", 2)]


def test_the_minute_of_each_begins_with_its_own_line() -> None:
    log = Kept()
    log.note("a")
    log.clock.pass_by(59)
    log.note("b")
    log.note("b")
    log.clock.pass_by(2)
    assert len(log.written) == 2, "the minute of a is over, and that of b has begun"
    log.clock.pass_by(58)
    assert [(at, peer, count) for at, peer, _, count in log.written[2:]] == [(219.0, "b", 1)]


def test_many_clients_share_one_line() -> None:
    log = Kept(most=4)
    for i in range(1000):
        log.note(f"10.0.0.{i}")
    assert len(log.written) == 5
    assert log.written[-1][1:] == (OTHERS, "shed", 1)
    log.clock.pass_by(SECONDS)
    assert log.written[5:] == [(160.0, OTHERS, "shed", 995)]
    assert len(log._kinds) == 1, "those that do not come again are forgotten"
    log.note("10.0.1.1")
    assert log.written[-1][1:] == ("10.0.1.1", "shed", 1)


def test_a_timer_runs_only_while_there_is_something_to_tell() -> None:
    log = Kept()
    assert log.clock.timers == []
    log.note("a")
    assert len(log.clock.timers) == 1
    log.clock.pass_by(10 * SECONDS)
    assert log.clock.timers == []
    log.note("a")
    log.flush()
    assert all(timer.cancelled for timer in log.clock.timers)


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["x", "y"]), st.integers(0, 40))), st.integers(1, 6)
)
def test_every_refusal_is_told_once_and_no_kind_twice_a_minute(events: list[tuple[str, str, int]], most: int) -> None:
    log = Kept(most)
    for peer, reason, pause in events:
        log.note(peer, reason)
        log.clock.pass_by(pause)
    log.clock.pass_by(2 * SECONDS)
    told = Counter[str]()
    last: dict[tuple[str, str], float] = {}
    for at, peer, reason, count in log.written:
        told[reason] += count
        assert at - last.get((peer, reason), -SECONDS) >= SECONDS - 1e-9
        last[peer, reason] = at
    assert told == Counter(reason for _, reason, _ in events)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_end_tells_what_had_no_line(count: int) -> None:
    log = Kept()
    for _ in range(count + 1):
        log.note("a")
    log.flush()
    assert [line[3] for line in log.written] == [1, *([count] if count else [])]


def test_the_line_of_a_head_has_what_there_was_of_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service.requests")
    log = RefusalLog(later=Clock().later)
    log.head(RefusedHead("headers-too-large", "10.0.0.7", 431, "r-1"))
    log.head(RefusedHead("timeout", "10.0.0.7"))
    common = {"message": "requests refused", "level": "info", "peer": "10.0.0.7", "key": "none", "refused": 1}
    answered, silent = map(fields_of, caplog.records)
    assert answered == {**common, "reason": "headers-too-large", "status": 431, "request_id": "r-1"}
    assert silent == {**common, "reason": "timeout"}
