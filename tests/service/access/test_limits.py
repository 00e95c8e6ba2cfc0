"""Limits hold as laws: no bucket lets through more than rate·t + burst, and no peer makes memory grow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.access.bucket import TokenBucket
from service.access.failures import FailureLimit, peer_name
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


def test_a_peer_that_fails_too_often_waits_for_the_end_of_its_window() -> None:
    clock = Clock()
    limit = FailureLimit(3, clock=clock)
    assert [limit.note("10.0.0.1") for _ in range(3)] == [None] * 3
    clock.now += 20
    assert limit.note("10.0.0.1") == 40
    assert limit.note("10.0.0.2") is None
    clock.now += 40
    assert limit.note("10.0.0.1") is None


@given(st.lists(st.integers(0, 50), max_size=300))
def test_only_so_many_peers_are_remembered_and_the_busy_one_is_not_forgotten(peers: list[int]) -> None:
    limit = FailureLimit(1, most_peers=5, clock=Clock())
    limit.note("busy")
    for peer in peers:
        limit.note(f"10.0.0.{peer}")
        assert limit.note("busy") is not None
        assert len(limit) <= 5


def test_an_ipv6_host_counts_as_one_whatever_address_of_its_network_it_takes() -> None:
    assert peer_name(("2001:db8:1:2::1", 9)) == peer_name(("2001:db8:1:2:3:4:5:6%eth0", 8)) == "2001:db8:1:2::/64"
    assert peer_name(("2001:db8:1:3::1", 9)) != peer_name(("2001:db8:1:2::1", 9))
    assert peer_name(("::ffff:10.0.0.1", 9)) == peer_name(("10.0.0.1", 8)) == "10.0.0.1"
    assert peer_name(None) == "unix"
    assert peer_name(("testclient", 1)) == "testclient"
