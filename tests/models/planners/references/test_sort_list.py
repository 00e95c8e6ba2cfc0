"""Never worse than the sort: the rule worked by hand, and the graph on requests where it decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.families.family import ReferencePlanner
from export.families.sort_gen import SortGen
from export.proof.requests import RequestShape, random_request, with_preferences
from export.proof.verify import compare
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.nets.checkpoint import Checkpoint
from models.nets.value import ValueConfig
from models.planners.references.sort_gen import Gains, PlanStep, Preferences, Scorer, plan_queues
from models.planners.references.sort_list import ExpectedAnswer, total, value_list
from models.planners.runtime import GraphPlanner
from tests.models.planners.examples import SPEC, UNITS, random_model
from tests.models.planners.references.rules import free

CLICKS = Preferences(weights=(1.0, 0.0, 0.0))
HALF = Preferences(weights=(1.0, 0.0, 0.0), trade_off=0.5)
NOWHERE = np.zeros((9, 1), np.float32)
LIMITS = Limits(list_length=5, queues=2, head_width=2)


def worth(table: Sequence[float]) -> Gains:
    """Slot i always brings ``table[i]`` clicks and nothing else."""
    return lambda _, candidates: np.array([[table[c], 0.0, 0.0] for c in candidates])


def anchored(chosen: Sequence[int], candidates: Sequence[int]) -> NDArray[np.float64]:
    """Slot 0 is dear, and behind it nothing else is worth anything; slots 1 and 2 bring 2 clicks each."""
    return np.array([[3.0 if c == 0 else 0.0 if 0 in chosen else 2.0, 0.0, 0.0] for c in candidates])


def unit(*rows: Sequence[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def test_a_list_is_valued_item_by_item_behind_those_before_it() -> None:
    steps = value_list(Scorer(anchored, NOWHERE, CLICKS), [1, 0, 2])
    assert [s.slot for s in steps] == [1, 0, 2]
    assert [s.score for s in steps] == [2, 3, 0]
    assert [(s.runner_up, s.margin, s.penalty) for s in steps] == [(-1, math.inf, 0)] * 3
    assert value_list(Scorer(anchored, NOWHERE, CLICKS), []) == []


def test_penalties_are_mmrs_and_who_has_no_place_is_charged_the_lists_mean() -> None:
    places = unit([1, 0], [0, 0], [1, 0], [0.6, 0.8])
    steps = value_list(Scorer(worth([1, 1, 1, 1]), places, HALF), [1, 0, 2, 3])
    # 1 is the first. 0 has no neighbour with a place; 2 is 0's twin; 3 lies at cosine 0.6 to both. Mean: 0.8.
    assert [s.penalty for s in steps] == pytest.approx([0, 0.4, 0.5, 0.3])
    assert [s.score for s in steps] == pytest.approx([0.5, 0.1, 0, 0.2])
    near = value_list(Scorer(worth([1, 1, 1, 1]), places, replace(HALF, window=1)), [0, 1, 2, 3])
    # Looking back on one item, only 3 has a neighbour with a place, and the others but the first are charged the same.
    assert [s.penalty for s in near] == pytest.approx([0, 0.3, 0.3, 0.3])
    nobody = value_list(Scorer(worth([1, 1, 1, 1]), places, replace(HALF, window=0)), [0, 1, 2, 3])
    assert [s.penalty for s in nobody] == [0, 0, 0, 0]


def test_the_better_of_plan_and_sort_is_the_answer() -> None:
    plan = plan_queues(Scorer(anchored, NOWHERE, CLICKS), [[0, 1, 2]], length=2, head_width=3)
    assert [s.slot for s in plan] == [0, 1]
    answer = ExpectedAnswer(plan, value_list(Scorer(anchored, NOWHERE, CLICKS), [1, 2]))
    assert (total(answer.plan), answer.lead, answer.kept_sort) == (3, 1, True)
    assert [s.slot for s in answer.steps] == [1, 2]
    assert answer.margins(3).tolist() == [0, 0, math.inf]  # 1 and 2 tie behind 0, so another plan was as near


def test_a_tie_an_equal_list_and_a_shorter_one_leave_the_plan() -> None:
    plan = plan_queues(Scorer(worth([2, 1, 1]), NOWHERE, CLICKS), [[0, 1, 2]], length=2, head_width=3)
    ties, same = (
        ExpectedAnswer(plan, value_list(Scorer(worth([2, 1, 1]), NOWHERE, CLICKS), slots)) for slots in ([0, 2], [0, 1])
    )
    assert (ties.lead, ties.kept_sort, ties.same) == (0, False, False)
    assert ties.margins(2).tolist() == [0, 0]
    assert (same.kept_sort, same.same) == (False, True)
    assert same.margins(2).tolist() == [1, 0]  # from the plan's own rivals alone
    assert not ExpectedAnswer(plan, value_list(Scorer(worth([9, 9, 9]), NOWHERE, CLICKS), [1])).kept_sort
    alone = ExpectedAnswer(plan)
    assert (alone.lead, alone.kept_sort, alone.steps) == (-math.inf, False, plan)


def test_of_plan_and_sort_the_longer_is_the_answer_whatever_it_is_worth() -> None:
    scorer, rules = Scorer(worth([9, 1, 1]), NOWHERE, CLICKS), free(2, 3)
    rules.step_bars[1] = 1
    plan = plan_queues(scorer, [[0, 1, 2]], length=2, rules=rules)
    longer, shorter = (ExpectedAnswer(plan, value_list(scorer, slots)) for slots in ([1, 2], []))
    assert (longer.lead, longer.kept_sort) == (math.inf, True)
    assert (shorter.lead, shorter.kept_sort) == (-math.inf, False)
    nothing = ExpectedAnswer([], value_list(scorer, [1]))
    assert nothing.kept_sort
    assert nothing.margins(2).tolist() == [math.inf, math.inf]


def test_rules_boost_a_lists_values_and_put_shown_items_before_it() -> None:
    rules = free(3, 3)
    rules.lifts[2] = 1.0
    rules.seen[0, 1] = 2.8
    rules.seen[1, 0] = 2.2
    steps = value_list(Scorer(worth([1, 1, 1]), unit([1, 0], [0.6, 0.8], [0, 0]), HALF), [1, 0, 2], rules)
    # 1 has 0.8 to a shown item; 0 has 0.6 to 1, and less to those shown; 2 is charged the mean, 0.7.
    assert [s.penalty for s in steps] == pytest.approx([0.4, 0.3, 0.35])
    assert [s.score for s in steps] == pytest.approx([0.1, 0.2, 0.65])
    assert [s.value[0] for s in steps] == [1, 1, 1]


@lru_cache
def built(head: int = 0) -> tuple[ReferencePlanner, GraphPlanner]:
    sizes = ValueConfig(dim=16, layers=2, heads=2, list_length=5, field_dim=4, context_dim=5)
    sizes = (sizes, replace(sizes, cosines=True), replace(sizes, context="none"), replace(sizes, context="linear"))[
        head
    ]
    family = SortGen(Checkpoint(random_model(SPEC, sizes, seed=head), UNITS))
    return family.reference(LIMITS), GraphPlanner(family.graph(LIMITS).build({}))


def request_of(seed: int, trade_off: float = 0.8, window: int = 3, shape: RequestShape | None = None) -> Arrays:
    return with_preferences(random_request(SPEC, LIMITS, seed, shape), (5.0, 1.0, 1.0), trade_off, window)


def with_sort(request: Arrays, slots: Sequence[int]) -> Arrays:
    row = [*slots, *[-1] * (LIMITS.list_length - len(slots))]
    return {**request, "sort_slots": np.array([row], np.int64)}


@pytest.mark.long
@settings(deadline=None, max_examples=120)
@given(
    head=st.integers(0, 3),
    shape=st.builds(RequestShape, full=st.booleans(), embedded=st.sampled_from([0.0, 0.5, 1.0]), twins=st.booleans()),
    trade_off=st.sampled_from([0.0, 0.5, 1.0]),
    window=st.integers(0, 6),
    swap=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    seed=st.integers(0, 2**31),
)
def test_the_graph_keeps_what_the_reference_does(
    head: int, shape: RequestShape, trade_off: float, window: int, swap: tuple[int, int], seed: int
) -> None:
    """The sort is the plan with two places exchanged, which is often better and sometimes the plan itself."""
    plan, planner = built(head)
    request = request_of(seed, trade_off, window, shape)
    planned: list[PlanStep] = plan(with_sort(request, [])).plan
    slots = [step.slot for step in planned]
    i, j = (min(place, len(slots) - 1) for place in swap)
    slots[i], slots[j] = slots[j], slots[i]
    asked = with_sort(request, slots)
    compare(planner(asked), plan(asked), LIMITS.list_length)


def test_the_sort_is_kept_now_and_then_and_never_when_it_is_the_plan() -> None:
    plan, planner = built()
    kept = []
    for seed in range(40):
        request = with_sort(request_of(seed), [])
        alone = planner(request)
        assert not alone["kept_sort"][0]
        slots = [slot for slot in alone["order"][0].tolist() if slot >= 0]
        again = planner(with_sort(request, slots))
        assert not again["kept_sort"][0]
        for name, array in alone.items():
            np.testing.assert_array_equal(array, again[name])
        turned = planner(with_sort(request, slots[::-1]))
        kept.append(bool(turned["kept_sort"][0]))
        if kept[-1]:
            assert turned["order"][0, : len(slots)].tolist() == slots[::-1]
            assert (turned["runner_up"] == -1).all()
            assert turned["score"].sum() > alone["score"].sum()
    assert 3 < sum(kept) < 37
    assert plan(with_sort(request_of(0), [])).listed == []


def test_a_sort_that_ends_early_is_not_kept_whatever_it_is_worth() -> None:
    """Without value every score is a penalty, and the shortest list has the least of them."""
    _, planner = built()
    request = request_of(1, trade_off=0.0, window=5, shape=RequestShape(full=True, embedded=1.0))
    request["embeddings"] = np.abs(request["embeddings"])
    alone = planner(with_sort(request, []))
    assert alone["score"].sum() < 0
    for slots in ([0], [0, 1, 2, 3]):
        found = planner(with_sort(request, slots))
        assert not found["kept_sort"][0]
        np.testing.assert_array_equal(found["order"], alone["order"])


def test_an_old_heads_graph_takes_no_sort() -> None:
    sizes = ValueConfig(dim=16, layers=1, heads=2, list_length=5, field_dim=4, head="independent")
    planner = GraphPlanner(SortGen(Checkpoint(random_model(SPEC, sizes, 0), UNITS)).graph(LIMITS).build({}))
    assert not {"sort_slots", "priors"} & set(planner.inputs)
    assert "kept_sort" not in planner.outputs
