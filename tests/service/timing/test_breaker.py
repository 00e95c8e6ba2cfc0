"""A breaker opens after failures in a row, allows one attempt at a time, and closes with the first success."""

from __future__ import annotations

from service.timing.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_only_failures_in_a_row_open_it() -> None:
    breaker = Breaker(failures=3)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert breaker.closed
    breaker.failed()
    assert not breaker.closed


def test_open_it_allows_one_attempt_every_so_often() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, seconds=2, clock=clock)
    breaker.failed()
    assert not breaker.may_try()
    clock.now += 2
    assert breaker.may_try()
    assert not breaker.may_try()
    clock.now += 1.9
    assert not breaker.may_try()
    clock.now += 0.1
    assert breaker.may_try()
    assert not breaker.closed
    breaker.succeeded()
    assert breaker.closed
