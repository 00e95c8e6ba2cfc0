"""A fault that every request meets writes one log line per minute, which tells how many were left out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from service.timing.limiter import LogLimiter, left_out


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_line_per_key_and_minute_that_tells_how_many_were_left_out() -> None:
    clock = Clock()
    limiter = LogLimiter(clock=clock)
    assert [limiter.ready("a") for _ in range(4)] == [0, None, None, None]
    assert limiter.ready("b") == 0
    clock.now += 59.9
    assert limiter.ready("a") is None
    clock.now += 0.2
    assert [limiter.ready("a"), limiter.ready("a"), limiter.ready("b")] == [4, None, 0]
    clock.now += 60
    assert limiter.ready("a") == 1


def test_keys_without_room_share_one_line() -> None:
    clock = Clock()
    limiter = LogLimiter(most_keys=3, clock=clock)
    assert [limiter.ready(i) for i in range(3)] == [0, 0, 0]
    assert [limiter.ready(i) for i in range(3, 1000)] == [0] + [None] * 996
    assert limiter.ready(0) is None
    clock.now += 60
    assert limiter.ready("new") == 0
    assert limiter.ready(2) == 0


def test_no_number_of_keys_uses_up_memory() -> None:
    clock = Clock()
    limiter = LogLimiter(most_keys=8, clock=clock)
    for i in range(10_000):
        limiter.ready(i)
        clock.now += 1
    assert len(limiter._pauses) <= 9


def test_threads_get_one_line_between_them() -> None:
    limiter = LogLimiter()
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: limiter.ready("key"), range(4000)))
    assert [suppressed for suppressed in got if suppressed is not None] == [0]
    assert got.count(None) == 3999


def test_a_line_says_how_many_were_left_out_only_if_there_were_some() -> None:
    assert left_out(0) == ""
    assert left_out(3) == " (3 more since the last such line)"
