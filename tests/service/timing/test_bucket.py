"""A bucket holds as a law: it lets through at most rate·t + burst in any time t, and fills again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.timing.bucket import TokenBucket
from tests.service.timing.test_limiter import Clock

RATES = st.floats(0.01, 10_000)
GAPS = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.001), st.floats(0, 100)), max_size=200)


@given(RATES, st.floats(1, 1000), GAPS)
def test_no_span_of_time_has_more_than_the_rate_and_the_burst(rate: float, burst: float, gaps: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, burst, clock=clock)
    let_through: list[float] = []
    for gap in gaps:
        clock.now += gap
        if bucket.take():
            let_through.append(clock.now)
    for i, begin in enumerate(let_through):
        for j, end in enumerate(let_through[i:], i):
            assert j - i + 1 <= rate * (end - begin) + burst + 1e-3


@given(RATES, st.floats(1, 100))
def test_a_bucket_fills_again_at_its_rate(rate: float, burst: float) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, burst, clock=clock)
    assert sum(bucket.take() for _ in range(200)) == int(burst)
    assert bucket.is_empty
    clock.now += 1.001 / rate
    assert bucket.take()
