"""Who stands in which queue: the two strategies against their definitions, and the laws that both keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.contract.manifest import Partition
from models.contract.partition import best, descending, partition, sorted_slots

Scores = NDArray[np.float64]
# Few distinct values, so that ties are common.
SCORES = st.integers(1, 4).flatmap(
    lambda queues: st.integers(0, 14).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0, 1e300]), min_size=n, max_size=n),
            min_size=queues,
            max_size=queues,
        ).map(lambda rows: np.array(rows, np.float64).reshape(queues, n))
    )
)
LENGTHS = st.integers(1, 5)
STRATEGIES: st.SearchStrategy[Partition] = st.sampled_from(["bfs", "dfs"])


def best_left(scores: Scores, left: list[int]) -> int:
    """The candidate of the highest score; the earliest of those that tie."""
    top = max(scores[i] for i in left)
    return next(i for i in left if scores[i] == top)


def plain_partition(scores: Scores, length: int, strategy: Partition) -> list[list[int]]:
    """By definition, one pick at a time: dfs fills a queue before the next one starts, bfs goes round."""
    queues: list[list[int]] = [[] for _ in scores]
    turns = range(len(queues))
    rounds = [q for q in turns for _ in range(length)] if strategy == "dfs" else [*turns] * length
    left = list(range(scores.shape[1]))
    for q in rounds:
        if left:
            pick = best_left(scores[q], left)
            left.remove(pick)
            queues[q].append(pick)
    return [queue + [-1] * (length - len(queue)) for queue in queues]


@settings(max_examples=300, deadline=None)
@given(scores=SCORES, length=LENGTHS, strategy=STRATEGIES)
def test_queues_are_those_of_the_definition(scores: Scores, length: int, strategy: Partition) -> None:
    dealt = partition(scores, length, strategy)
    assert dealt.dtype == np.int64
    assert dealt.tolist() == plain_partition(scores, length, strategy)


@settings(max_examples=150, deadline=None)
@given(scores=SCORES, length=LENGTHS, strategy=STRATEGIES)
def test_queues_are_disjoint_descending_and_hold_as_many_as_there_are(
    scores: Scores, length: int, strategy: Partition
) -> None:
    queues = partition(scores, length, strategy)
    n = scores.shape[1]
    dealt = queues[queues >= 0]
    assert len(set(dealt.tolist())) == len(dealt) == min(n, queues.size)
    for own, queue in zip(scores, queues, strict=True):
        filled = int((queue >= 0).sum())
        assert (queue[filled:] == -1).all()
        values = own[queue[:filled]]
        assert (values[:-1] >= values[1:]).all()


@settings(max_examples=100, deadline=None)
@given(scores=SCORES, length=LENGTHS)
def test_the_first_queue_gets_its_very_best_in_depth_first(scores: Scores, length: int) -> None:
    first = partition(scores, length, "dfs")[0]
    assert first[first >= 0].tolist() == descending(scores[0])[:length].tolist()


@settings(max_examples=100, deadline=None)
@given(scores=SCORES, length=LENGTHS, strategy=STRATEGIES)
def test_a_queue_never_prefers_a_candidate_to_a_better_one_that_nobody_took(
    scores: Scores, length: int, strategy: Partition
) -> None:
    queues = partition(scores, length, strategy)
    nobodys = sorted(set(range(scores.shape[1])) - set(queues.ravel().tolist()))
    for own, queue in zip(scores, queues, strict=True):
        for i in queue[queue >= 0].tolist():
            assert all(own[i] > own[j] or (own[i] == own[j] and i < j) for j in nobodys)


def test_both_strategies_on_an_example_by_hand() -> None:
    scores = np.array([[9.0, 8.0, 7.0, 1.0, 0.0], [9.0, 8.0, 1.0, 7.0, 0.0]])
    assert partition(scores, 2, "dfs").tolist() == [[0, 1], [3, 2]]
    assert partition(scores, 2, "bfs").tolist() == [[0, 2], [1, 3]]
    assert partition(scores, 3, "dfs").tolist() == [[0, 1, 2], [3, 4, -1]]
    assert partition(scores, 3, "bfs").tolist() == [[0, 2, 4], [1, 3, -1]]


@pytest.mark.parametrize("strategy", ["bfs", "dfs"])
def test_nothing_to_deal_leaves_every_place_empty(strategy: Partition) -> None:
    assert partition(np.zeros((2, 0)), 3, strategy).tolist() == [[-1] * 3] * 2


def test_equal_scores_keep_their_order() -> None:
    assert descending(np.array([1.0, 2.0, 1.0, 2.0, 2.0])).tolist() == [1, 3, 4, 0, 2]


def test_the_sorts_list_names_the_slots_of_the_best_that_are_encoded() -> None:
    scores = np.array([1.0, 5.0, 5.0, 9.0, 3.0])
    # Candidate 3 is the best and not encoded; 1 and 2 tie and stand in slots of the other order.
    slots = np.array([2, 0, -1, 4, 1, -1])
    assert sorted_slots(scores, slots, 3).tolist() == [4, 0, 3]
    assert sorted_slots(scores, slots, 6).tolist() == [4, 0, 3, 1, -1, -1]
    assert sorted_slots(scores, np.full(4, -1), 2).tolist() == [-1, -1]


def test_candidates_whose_score_is_not_finite_stand_last_in_the_sorts_list() -> None:
    scores = np.array([np.inf, -1e300, np.nan, 2.0, -np.inf])
    assert sorted_slots(scores, np.array([4, 0, 1, 2, 3]), 5).tolist() == [4, 2, 1, 3, 0]


@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=12).map(np.array),
    length=st.integers(1, 4),
    strategy=st.sampled_from(["bfs", "dfs"]),
)
def test_with_a_queue_of_the_same_scores_it_is_the_sort_of_all_candidates(
    scores: NDArray[np.float64], length: int, strategy: Partition
) -> None:
    slots = partition(np.stack([-scores, scores]), length, strategy).reshape(-1)
    found = sorted_slots(scores, slots, length)
    best = descending(scores)[:length].tolist()
    named = slots[found[found >= 0]].tolist()
    assert named == best[: len(named)]
    assert len(named) == len(best)


@settings(max_examples=300, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0, np.inf, np.nan]), max_size=60).map(
        lambda values: np.array(values, np.float64)
    ),
    count=st.integers(0, 20),
)
def test_the_best_few_are_the_first_of_all_in_order(scores: NDArray[np.float64], count: int) -> None:
    assert best(scores, count).tolist() == descending(scores)[:count].tolist()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), values=st.sampled_from([2, 20, 10_000]), strategy=STRATEGIES)
def test_queues_of_very_many_candidates_are_those_of_the_definition(
    seed: int, values: int, strategy: Partition
) -> None:
    scores = np.random.default_rng(seed).integers(values, size=(2, 150)).astype(np.float64)
    assert partition(scores, 4, strategy).tolist() == plain_partition(scores, 4, strategy)
