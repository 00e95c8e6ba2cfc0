"""The plain beam on cases worked by hand, and against all lists that there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.planners.references.beam import plan_among_ties, plan_beam
from models.planners.references.sort_gen import Gains, Preferences, Scorer, plan_queues
from models.planners.references.sort_list import total, value_list
from tests.models.planners.references.rules import free

CLICKS = Preferences(weights=(1.0, 0.0, 0.0))
NOWHERE = np.zeros((9, 1), np.float32)


def worth(table: Sequence[float]) -> Gains:
    """Slot i always brings ``table[i]`` clicks and nothing else."""
    return lambda _, candidates: np.array([[table[c], 0.0, 0.0] for c in candidates])


def anchored(chosen: Sequence[int], candidates: Sequence[int]) -> NDArray[np.float64]:
    """Slot 0 brings most, and behind it nothing else brings anything."""
    return np.array([[(0.0 if 0 in chosen else (3.0, 2.0, 1.5, 1.0)[c]), 0.0, 0.0] for c in candidates])


def by_seed(seed: int) -> Gains:
    """Worth that depends on the whole list so far, at random."""

    def gains(chosen: Sequence[int], candidates: Sequence[int]) -> NDArray[np.float64]:
        rows = [np.random.default_rng([seed, *chosen, 99, c]).normal(size=3) for c in candidates]
        return np.array(rows)

    return gains


def test_a_second_list_finds_what_the_first_step_hides() -> None:
    greedy = plan_queues(Scorer(anchored, NOWHERE, CLICKS), [[0, 1, 2]], length=2, head_width=3)
    steps, cut = plan_beam(Scorer(anchored, NOWHERE, CLICKS), [[0, 1, 2]], length=2, head_width=3, beam_width=2)
    assert [s.slot for s in greedy] == [0, 1]
    assert [s.slot for s in steps] == [1, 0]
    assert [s.score for s in steps] == [2, 3]
    # Cut first: 2 behind 1, by 0.5. Of the second step's lists 1-0 has 5 and 1-2 has 3.5.
    assert cut == 0.5
    assert [s.runner_up for s in steps] == [0, 2]
    assert [s.margin for s in steps] == [math.inf, math.inf]


def test_the_runner_up_is_the_best_of_what_else_was_proposed_for_the_same_list() -> None:
    steps, _ = plan_beam(Scorer(worth([3, 2, 1]), NOWHERE, CLICKS), [[0], [1], [2]], length=3, beam_width=3)
    assert [s.slot for s in steps] == [0, 1, 2]
    assert [s.runner_up for s in steps] == [1, 2, -1]
    assert steps[0].scores == {0: 3, 1: 2, 2: 1}


def test_queues_move_on_for_every_list_apart() -> None:
    """Slot 1 stands behind 0, and is seen only by a list that took 0."""
    steps, _ = plan_beam(Scorer(worth([1, 9, 2, 0]), NOWHERE, CLICKS), [[0, 1], [2, 3]], length=2, beam_width=2)
    assert [s.slot for s in steps] == [0, 1]


def test_lists_end_where_candidates_do_and_ties_go_to_what_comes_first() -> None:
    steps, cut = plan_beam(Scorer(worth([1, 1, 1]), NOWHERE, CLICKS), [[2, 1], [0]], length=9, beam_width=4)
    assert [s.slot for s in steps] == [2, 1, 0]
    assert cut == 0  # several lists are worth 3
    assert plan_beam(Scorer(worth([]), NOWHERE, CLICKS), [[], []], length=3, beam_width=2) == ([], math.inf)
    alone, cut = plan_beam(Scorer(worth([1]), NOWHERE, CLICKS), [[0]], length=3, beam_width=2)
    assert ([s.slot for s in alone], cut) == ([0], math.inf)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), head_width=st.integers(1, 3), trade_off=st.sampled_from([0.0, 0.6, 1.0]))
def test_a_beam_of_one_is_the_greedy_plan(seed: int, head_width: int, trade_off: float) -> None:
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(6, 2)).astype(np.float32)
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    wish = Preferences((1.0, 2.0, 1.0), trade_off=trade_off, window=2)
    queues = [[0, 1], [2, 3, 4], [5]]
    greedy = plan_queues(Scorer(by_seed(seed), places, wish), queues, length=4, head_width=head_width)
    steps, cut = plan_beam(Scorer(by_seed(seed), places, wish), queues, length=4, head_width=head_width, beam_width=1)
    assert [(s.slot, s.score, s.penalty, s.runner_up) for s in steps] == [
        (s.slot, s.score, s.penalty, s.runner_up) for s in greedy
    ]
    assert cut == pytest.approx(min(s.margin for s in greedy))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_beam_that_cuts_nothing_finds_the_best_of_all_lists(seed: int) -> None:
    steps, _ = plan_beam(Scorer(by_seed(seed), NOWHERE, CLICKS), [[0, 1, 2, 3]], length=3, head_width=4, beam_width=24)
    best = max(total(value_list(Scorer(by_seed(seed), NOWHERE, CLICKS), slots)) for slots in permutations(range(4), 3))
    assert total(steps) == pytest.approx(best)


def twins(chosen: Sequence[int], candidates: Sequence[int]) -> NDArray[np.float64]:
    """Slots 0 and 1 bring the same but for a hair; who took 1 first is rewarded at once behind it."""
    table = [[2.0, 2.0 - 1e-9, 1.0, 0.5][c] + (5.0 if chosen[:1] == [1] and c == 2 else 0.0) for c in candidates]
    return np.array([[value, 0.0, 0.0] for value in table])


QUEUES = ([0], [1], [2], [3])


def among_ties(gains: Gains, wanted: Sequence[int], margin: float, beam_width: int) -> list[tuple[int, float]] | None:
    """Slots and scores of the list, if it can be found where leads below the margin do not count."""
    found = plan_among_ties(
        Scorer(gains, NOWHERE, CLICKS), QUEUES, length=2, beam_width=beam_width, wanted=wanted, margin=margin
    )
    return None if found is None else [(step.slot, step.score) for step in found]


def planned(gains: Gains, beam_width: int) -> list[int]:
    steps, _ = plan_beam(Scorer(gains, NOWHERE, CLICKS), QUEUES, length=2, beam_width=beam_width)
    return [step.slot for step in steps]


def test_a_list_that_owes_its_place_to_a_hair_is_found_where_hairs_do_not_count() -> None:
    assert planned(twins, 1) == [0, 1]
    assert among_ties(twins, [1, 2], 1e-6, 1) == [(1, 2.0 - 1e-9), (2, 6.0)]
    assert among_ties(twins, [0, 1], 1e-6, 1) == [(0, 2.0), (1, 2.0 - 1e-9)]
    # Neither what is a clear step worse, nor what was cut by more than the margin.
    assert among_ties(twins, [2, 0], 1e-6, 1) is None
    assert among_ties(twins, [1, 2], 1e-12, 1) is None


def test_a_list_that_no_breaking_of_ties_can_better_away_is_out_of_reach() -> None:
    """Who keeps 1 beside 0 ends with 1-2; who has cut 1, by a hair from 3, ends with 0 before all."""

    def gains(chosen: Sequence[int], candidates: Sequence[int]) -> NDArray[np.float64]:
        table = [[3.0, 2.0, 1.0, 2.0 - 1e-9][c] + (9.0 if chosen[:1] == [1] and c == 2 else 0.0) for c in candidates]
        return np.array([[value, 0.0, 0.0] for value in table])

    assert planned(gains, 2) == [1, 2]
    assert among_ties(gains, [1, 2], 1e-6, 2) == [(1, 2.0), (2, 10.0)]
    assert among_ties(gains, [0, 1], 1e-6, 2) == [(0, 3.0), (1, 2.0)]
    assert among_ties(gains, [0, 2], 1e-6, 2) is None  # 0-1, which is always there, leads it


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), beam_width=st.integers(1, 5))
def test_without_ties_only_the_beams_own_list_is_reached(seed: int, beam_width: int) -> None:
    own = planned(by_seed(seed), beam_width)
    for wanted in permutations(range(4), 2):
        found = among_ties(by_seed(seed), wanted, 1e-12, beam_width)
        assert (found is not None) == (list(wanted) == own)


def test_under_rules_lists_that_go_on_come_before_those_that_cannot() -> None:
    rules = free(3, 4)
    rules.members[:3] = [[1, 1], [1, 0], [0, 1]]
    rules.room[:] = 1
    rules.step_bars[:, 3] = 1
    asked = {"length": 3, "head_width": 1, "rules": rules}
    scorer, queues = Scorer(worth([9, 2, 1, 5]), NOWHERE, CLICKS), [[0], [1, 3], [2]]
    # Behind 0 nothing may stand; behind 1 only 2, and the other way round.
    assert [s.slot for s in plan_queues(scorer, queues, **asked)] == [0]
    steps, cut = plan_beam(scorer, queues, **asked, beam_width=3)
    assert [s.slot for s in steps] == [1, 2]
    assert cut == 0  # 2 and 1 are worth as much
    found = plan_among_ties(scorer, queues, **asked, beam_width=3, wanted=[2, 1], margin=1e-6)
    assert found is not None
    assert plan_among_ties(scorer, queues, **asked, beam_width=3, wanted=[0], margin=1e-6) is None
