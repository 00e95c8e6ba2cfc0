"""Sizes of batches as a service's metrics tell them."""

from __future__ import annotations

from loadtest.rig.batches import NO_BATCHES, Batches

TEXT = """# TYPE rerank_batch_size histogram
rerank_batch_size_bucket{le="1.0"} 2.0
rerank_batch_size_bucket{le="2.0"} 2.0
rerank_batch_size_bucket{le="4.0"} 8.0
rerank_batch_size_bucket{le="+Inf"} 10.0
rerank_batch_size_count 10.0
rerank_batch_size_sum 40.0
rerank_batch_duration_seconds_sum 7.0
"""


def test_requests_are_counted_by_the_size_of_their_run() -> None:
    found = Batches.of(TEXT)
    assert found.to_json() == {"1": 2, "2": 0, "4": 6, "inf": 2}
    assert found.mean == 4.0
    assert str(found) == "1: 20%, ≤4: 60%, >4: 20%"


def test_what_has_come_since_is_the_difference_and_windows_add_up() -> None:
    later = Batches.of(TEXT.replace(" 10.0", " 14.0").replace(" 8.0", " 12.0").replace(" 40.0", " 56.0"))
    since = later - Batches.of(TEXT)
    assert (since.to_json(), since.mean) == ({"1": 0, "2": 0, "4": 4, "inf": 0}, 4.0)
    assert (Batches.of(TEXT) + since) == later
    assert str(NO_BATCHES) == "none"
