"""Deal under rules: the laws that every dealing keeps, and hand-made examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.arrays import Floats
from models.contract.manifest import Partition
from models.contract.partition import partition
from models.contract.rules.dealing import ruled_partition
from models.contract.rules.definition import Boost, Cap, Floor, Pin, Rules
from models.contract.rules.ledger import Ledger
from models.contract.rules.quotas import most_in_list
from models.contract.rules.ruling import Ruling, compile_rules
from models.contract.rules.sorting import ruled_sort
from tests.models.contract.rules.cases import CASES, Case
from tests.models.contract.rules.examples import branded

STRATEGIES: st.SearchStrategy[Partition] = st.sampled_from(["bfs", "dfs"])
PLACES = st.sampled_from([1, 3, 10, 40])


def drawn_scores(case: Case, queues: int) -> Floats:
    # Few distinct values, so that ties are common.
    return np.random.default_rng(case.seed).integers(0, 30, (queues, len(case.candidates))) / 4


@settings(max_examples=120, deadline=None)
@given(case=CASES, queues=st.integers(1, 4), places=PLACES, strategy=STRATEGIES)
def test_queues_are_disjoint_allowed_in_order_and_hold_pins_and_all_that_fit(
    case: Case, queues: int, places: int, strategy: Partition
) -> None:
    ruling = case.ruling()
    scores = drawn_scores(case, queues)
    dealt = ruled_partition(scores, ruling, strategy, places, steps=case.length, groups=10_000)
    held = dealt[dealt >= 0].tolist()
    assert dealt.shape == (queues, places)
    most = min(int(ruling.allowed.sum()), dealt.size)
    # Beside what floors need, some of its groups are left out.
    crowded = most < ruling.allowed.sum() and any(c.is_floor for c in ruling.constraints)
    assert len(set(held)) == len(held)
    assert len(held) <= most if crowded else len(held) == most
    assert ruling.allowed[held].all()
    pins = [c for place, c in sorted(ruling.pins.items()) if place < case.length]
    if len(pins) <= dealt.size:
        assert set(pins) <= set(held)
    worth = scores if ruling.boosts is None else scores * ruling.boosts
    for own, queue in zip(worth, dealt, strict=True):
        filled = int((queue >= 0).sum())
        assert (queue[filled:] == -1).all()
        assert (np.diff(own[queue[:filled]]) <= 0).all()


@settings(max_examples=60, deadline=None)
@given(case=CASES, queues=st.integers(1, 4), places=PLACES, strategy=STRATEGIES)
def test_without_pins_caps_and_floors_it_is_the_plain_partition_of_boosted_scores(
    case: Case, queues: int, places: int, strategy: Partition
) -> None:
    ruling = replace(case, rules=Rules(boosts=case.rules.boosts), shown=[]).ruling()
    scores = drawn_scores(case, queues)
    worth = scores if ruling.boosts is None else scores * ruling.boosts
    dealt = ruled_partition(scores, ruling, strategy, places, steps=case.length, groups=32)
    assert dealt.tolist() == partition(worth, places, strategy).tolist()


@pytest.mark.parametrize("strategy", ["bfs", "dfs"])
def test_a_cap_that_binds_nowhere_changes_nothing(strategy: Partition) -> None:
    ruling = compile_rules(branded("ab" * 50), Rules(caps=(Cap("brand", 9, 10),)), top_n=10)
    assert ruling.constraints
    scores = np.stack([np.linspace(1, 0, 100), np.linspace(0, 1, 100)])
    dealt = ruled_partition(scores, ruling, strategy, 8, steps=8, groups=32)
    assert dealt.tolist() == partition(scores, 8, strategy).tolist()


@settings(max_examples=100, deadline=None)
@given(case=CASES, queues=st.integers(1, 3), strategy=STRATEGIES)
def test_a_queue_exceeds_a_quota_only_if_nothing_within_the_quotas_is_left(
    case: Case, queues: int, strategy: Partition
) -> None:
    ruling = replace(case, rules=Rules(caps=case.rules.caps)).ruling()
    places = case.length
    dealt = ruled_partition(drawn_scores(case, queues), ruling, strategy, places, steps=places, groups=10_000)
    length = min(places, ruling.length)
    if int(ruling.allowed.sum()) <= dealt.size:
        return
    left = ruling.allowed.copy()
    left[dealt[dealt >= 0]] = False
    limits = [max(1, most_in_list(c, length) * places // length) for c in ruling.constraints]
    for queue in dealt:
        counts = [int(c.members[queue].sum()) for c in ruling.constraints]
        if any(count > limit for count, limit in zip(counts, limits, strict=True)):
            full = [c.members for c, n, most in zip(ruling.constraints, counts, limits, strict=True) if n >= most]
            assert not (left & ~np.any(full, axis=0)).any()


def deal(ruling: Ruling, worth: list[float], places: int, groups: int = 32) -> list[int]:
    dealt = ruled_partition(np.array([worth]), ruling, "bfs", places, steps=places, groups=groups)
    found: list[int] = dealt[0].tolist()
    return found


def test_the_last_places_of_a_queue_give_way_to_pins_and_to_what_floors_need() -> None:
    items = branded("aaaaaabb")
    worth = [8.0, 7, 6, 5, 4, 3, 2, 1]
    pinned = compile_rules(items, Rules(pinned=(Pin("c5", 2),)), top_n=4)
    assert deal(pinned, worth, 4) == [0, 1, 2, 5]
    floor = compile_rules(items, Rules(floors=(Floor("brand", "b", 1, 4),)), top_n=4)
    assert deal(floor, worth, 4) == [0, 1, 2, 6]
    both = compile_rules(items, Rules(pinned=(Pin("c7", 4),), floors=(Floor("brand", "b", 1, 4),)), top_n=4)
    assert deal(both, worth, 4) == [0, 1, 2, 7]


def test_what_floors_need_is_chosen_within_the_caps() -> None:
    items = branded("aaaaaaab")
    for i, item in enumerate(items):
        items[i] = replace(item, tags={**item.tags, "source": "new" if i >= 4 else "old"})
    rules = Rules(caps=(Cap("brand", 3),), floors=(Floor("source", "new", 4, 4),))
    assert deal(compile_rules(items, rules, top_n=4), [8.0, 7, 6, 5, 4, 3, 2, 1], 4) == [4, 5, 6, 7]


def test_a_group_has_limit_times_windows_places_in_a_queue_and_more_only_at_its_end() -> None:
    items = branded("aaaaaabbcc")
    worth = [9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert deal(compile_rules(items, Rules(caps=(Cap("brand", 2),)), top_n=6), worth, 6) == [0, 1, 6, 7, 8, 9]
    windowed = compile_rules(items, Rules(caps=(Cap("brand", 2, 3),)), top_n=6)
    assert deal(windowed, worth, 6) == [0, 1, 2, 3, 6, 7]
    few = compile_rules(branded("aaaaaaaabb"), Rules(caps=(Cap("brand", 2),)), top_n=6)
    assert deal(few, worth, 6) == [0, 1, 2, 3, 8, 9]


def test_boosts_reorder_queues() -> None:
    items = branded("ab")
    ruling = replace(compile_rules(items, Rules(), top_n=2), boosts=np.array([1.0, 3.0]))
    assert deal(ruling, [2.0, 1.0], 2) == [1, 0]
    assert deal(ruling, [-2.0, -1.0], 2) == [0, 1]


def test_of_groups_past_the_most_only_so_many_members_are_dealt_that_they_cannot_bind() -> None:
    items = branded("aaaaabbbbccc")
    ruling = compile_rules(items, Rules(caps=(Cap("brand", 1, 2),)), top_n=12)
    assert len(ruling.constraints) == 3
    worth = np.linspace(1, 0, 12).tolist()
    assert deal(ruling, worth, 12, groups=2) == [*range(10), -1, -1]
    assert deal(ruling, worth, 12, groups=1) == [*range(6), 9, -1, -1, -1, -1, -1]


def test_a_pin_past_the_steps_counts_in_a_group_past_the_most() -> None:
    rules = Rules(pinned=(Pin("c7", 6),), caps=(Cap("brand", 1, 2),))
    ruling = compile_rules(branded("babbbbba"), rules, top_n=6)
    worth = np.linspace(1, 0, 8).tolist()
    assert deal(ruling, worth, 3) == [0, 1, 2]
    assert deal(ruling, worth, 3, groups=1) == [0, 2, 7]


def test_scores_that_boosts_make_infinite_are_the_best() -> None:
    ruling = compile_rules(branded("ab"), Rules(boosts=(Boost({"brand": "b"}, 1e3),)), top_n=2)
    assert deal(ruling, [1.5e308, 1e308], 2) == [1, 0]


@settings(max_examples=100, deadline=None)
@given(case=CASES, queues=st.integers(1, 3))
def test_a_sort_keeps_the_rules_and_ends_where_it_would_relax_one(case: Case, queues: int) -> None:
    ruling = case.ruling()
    scores = drawn_scores(case, queues)
    slots = ruled_partition(scores, ruling, "bfs", case.length, steps=case.length, groups=32).ravel()
    found = ruled_sort(scores[0], slots, case.length, ruling)
    named = found[found >= 0]
    assert (found[len(named) :] == -1).all()
    worth = scores[0] if ruling.boosts is None else scores[0] * ruling.boosts
    ledger = Ledger(ruling)
    listed = slots[named].tolist()
    for place in range(min(case.length, ruling.length)):
        free = [i for i in np.flatnonzero(ledger.open()).tolist() if i in slots]
        if place == len(listed):
            assert not free
            break
        assert worth[listed[place]] == max(worth[free])
        ledger.put(listed[place])


def test_no_more_of_a_group_than_a_list_holds_are_dealt_beside_one_that_a_floor_needs() -> None:
    items = branded("aaaabbbbccccdddd")
    items[2] = replace(items[2], tags={**items[2].tags, "source": "new"})
    ruling = compile_rules(items, Rules(caps=(Cap("brand", 2),), floors=(Floor("source", "new", 1, 4),)), top_n=4)
    worth = np.linspace(1, 0, 16)
    dealt = ruled_partition(np.stack([worth, worth]), ruling, "dfs", 4, steps=4, groups=32)
    assert dealt.tolist() == [[0, 2, 4, 5], [6, 7, 8, 9]]
