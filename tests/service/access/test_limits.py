"""Failures are limited by host, and no number of hosts makes memory grow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.access.failures import NO_PEER, FailureLimit, host_of, peer_of
from tests.service.timing.test_limiter import Clock


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
    assert host_of("2001:db8:1:2::1") == host_of("2001:db8:1:2:3:4:5:6%eth0") == "2001:db8:1:2::/64"
    assert host_of("2001:db8:1:3::1") != host_of("2001:db8:1:2::1")
    assert host_of("::ffff:10.0.0.1") == host_of("10.0.0.1") == "10.0.0.1"
    assert host_of("testclient") == "testclient"
    assert host_of(peer_of({"client": None})) == host_of(NO_PEER) == "unix"
    assert peer_of({"client": ("10.0.0.1", 9)}) == "10.0.0.1"
