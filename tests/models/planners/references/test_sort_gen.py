"""The plain generator on cases worked by hand. What an item is worth comes from a table: no model hides a mistake."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.proof.requests import RequestShape, random_request
from models.contract.manifest import Limits
from models.nets.value import ValueConfig
from models.planners.references.sort_gen import Gains, ModelGains, PlanStep, Preferences, Scorer, plan_queues
from tests.models.planners.examples import SPEC, random_model
from tests.models.planners.references.rules import free

Floats = NDArray[np.float64]
CLICKS = Preferences(weights=(1.0, 0.0, 0.0))


def worth(table: Sequence[float]) -> Gains:
    """Slot i always brings ``table[i]`` clicks and nothing else."""
    return lambda _, candidates: np.array([[table[c], 0.0, 0.0] for c in candidates])


def unit(*rows: Sequence[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


NOWHERE = np.zeros((9, 1), np.float32)


def order(steps: Sequence[PlanStep]) -> list[int]:
    return [step.slot for step in steps]


def test_each_step_takes_the_best_head_of_a_queue() -> None:
    # Heads: 0 and 2, then 1 and 2, then 1 and 3, then 3.
    steps = plan_queues(Scorer(worth([5, 1, 3, 2]), NOWHERE, CLICKS), [[0, 1], [2, 3]], length=4)
    assert order(steps) == [0, 2, 3, 1]
    assert [s.score for s in steps] == [5, 3, 2, 1]
    assert [s.margin for s in steps] == [2, 2, 1, math.inf]
    assert [s.runner_up for s in steps] == [2, 1, 1, -1]


def test_what_stands_behind_a_head_is_not_seen() -> None:
    assert order(plan_queues(Scorer(worth([1, 9, 2, 0]), NOWHERE, CLICKS), [[0, 1], [2, 3]], length=2)) == [2, 0]


def test_more_heads_see_further() -> None:
    steps = plan_queues(Scorer(worth([1, 9, 2, 0]), NOWHERE, CLICKS), [[0, 1], [2, 3]], length=3, head_width=2)
    assert order(steps) == [1, 2, 0]
    assert [s.runner_up for s in steps] == [2, 0, 3]


def test_ties_go_to_the_queue_of_higher_priority_then_to_the_better_rank() -> None:
    flat = Scorer(worth([1, 1, 1, 1]), NOWHERE, CLICKS)
    assert order(plan_queues(flat, [[3, 2], [1, 0]], length=4)) == [3, 2, 1, 0]
    assert order(plan_queues(flat, [[3, 2], [1, 0]], length=4, head_width=2)) == [3, 2, 1, 0]
    assert [s.margin for s in plan_queues(flat, [[3, 2], [1, 0]], length=3)] == [
        0,
        0,
        math.inf,
    ]


def test_a_queue_that_ran_out_leaves_the_others_to_go_on() -> None:
    steps = plan_queues(Scorer(worth([9, 1, 2, 3]), NOWHERE, CLICKS), [[0], [], [1, 2, 3]], length=9)
    assert order(steps) == [0, 1, 2, 3]
    assert plan_queues(Scorer(worth([]), NOWHERE, CLICKS), [[], []], length=3) == []


def test_no_more_than_length_are_taken() -> None:
    assert order(plan_queues(Scorer(worth([1, 2, 3]), NOWHERE, CLICKS), [[0, 1, 2]], length=2)) == [0, 1]


def test_gains_are_asked_for_what_follows_the_list_so_far() -> None:
    asked: list[tuple[list[int], list[int]]] = []

    def gains(chosen: Sequence[int], candidates: Sequence[int]) -> Floats:
        asked.append((list(chosen), list(candidates)))
        return worth([5, 1, 3, 2])(chosen, candidates)

    plan_queues(Scorer(gains, NOWHERE, CLICKS), [[0, 1], [2, 3]], length=3)
    assert asked == [([], [0, 2]), ([0], [1, 2]), ([0, 2], [1, 3])]


def test_objectives_are_weighed_in_units_and_over_the_sum_of_weights() -> None:
    preferences = Preferences(weights=(5.0, 1.0, 2.0), units=(0.1, 0.02, 4.0))
    # 5·0.2/0.1 + 1·0.01/0.02 + 2·6/4 = 10 + 0.5 + 3, over 8
    assert preferences.step_value(np.array([0.2, 0.01, 6.0])) == pytest.approx(13.5 / 8)


def test_the_trade_off_weighs_value_against_the_nearest_neighbour() -> None:
    # Slot 1 is slot 0's twin, slot 2 stands at right angles, slot 3 at 60°.
    places = unit([1, 0], [1, 0], [0, 1], [0.5, math.sqrt(0.75)])
    half = Preferences(weights=(1.0, 0.0, 0.0), trade_off=0.5, window=9)
    steps = plan_queues(Scorer(worth([4.0, 2.0, 1.5, 1.8]), places, half), [[0], [1], [2], [3]], length=4)
    # PlanStep 2: 1 − 0.5 = 0.5, 0.75 − 0, 0.9 − 0.25 = 0.65. PlanStep 3: 1 − 0.5, 0.9 − 0.5·√0.75 = 0.467.
    assert order(steps) == [0, 2, 1, 3]
    assert [s.penalty for s in steps] == pytest.approx([0, 0, 0.5, 0.5 * math.sqrt(0.75)], abs=1e-6)
    assert [s.score for s in steps] == pytest.approx([2, 0.75, 0.5, 0.9 - 0.5 * math.sqrt(0.75)], abs=1e-6)
    assert steps[1].runner_up == 3
    assert steps[1].margin == pytest.approx(0.1, abs=1e-6)
    assert steps[1].value.tolist() == [1.5, 0, 0]


@pytest.mark.parametrize(("window", "third"), [(0, [0.0, 0.0]), (1, [0.0, 0.0]), (2, [0.5, 0.5]), (5, [0.5, 0.5])])
def test_the_window_says_how_many_of_the_last_chosen_count(window: int, third: list[float]) -> None:
    """Slots 0 and 2 are twins, 1 stands at right angles to both; they are taken in this order."""
    places = unit([1, 0], [0, 1], [1, 0])
    wish = Preferences(weights=(1.0, 0.0, 0.0), trade_off=0.5, window=window)
    steps = plan_queues(Scorer(worth([9, 6, 3]), places, wish), [[0, 1, 2]], length=3)
    assert order(steps) == [0, 1, 2]
    assert steps[1].penalty == 0
    assert [steps[2].penalty, 1.5 - steps[2].score] == third


def test_a_negative_cosine_is_a_bonus() -> None:
    wish = Preferences(weights=(1.0, 0.0, 0.0), trade_off=0.5)
    steps = plan_queues(Scorer(worth([2, 1]), unit([1, 0], [-1, 0]), wish), [[0, 1]], length=2)
    assert (steps[1].penalty, steps[1].score) == (-0.5, 1.0)


def test_who_has_no_embedding_is_charged_the_mean_of_the_others() -> None:
    root = math.sqrt(0.75)
    places = unit([1, 0], [1, 0], [0.5, root], [0, 0])
    wish = Preferences(weights=(1.0, 0.0, 0.0), trade_off=0.5)
    steps = plan_queues(Scorer(worth([9, 1, 1, 2]), places, wish), [[0, 3], [1], [2]], length=4)
    # PlanStep 2: cosines 1 and 0.5, so slot 3 is charged 0.5·0.75 = 0.375 and has 1 − 0.375 = 0.625.
    # PlanStep 3: slot 3 has no place, so the neighbours are as before, and 2 is ahead of 1.
    assert order(steps) == [0, 3, 2, 1]
    assert steps[1].penalty == pytest.approx(0.375)
    assert [s.penalty for s in steps[2:]] == pytest.approx([0.25, 0.5])


def test_where_nobody_has_a_neighbour_nobody_is_charged() -> None:
    wish = Preferences(weights=(1.0, 0.0, 0.0), trade_off=0.5)
    alone = plan_queues(Scorer(worth([3, 2, 1]), unit([0, 0], [1, 0], [0, 0]), wish), [[0], [1], [2]], length=3)
    # Slot 0 was chosen and has no place; then slot 1 was, and slot 2 has none.
    assert [s.penalty for s in alone] == [0, 0, 0]


@pytest.mark.parametrize(("trade_off", "expected"), [(1.0, [0, 1, 2]), (0.0, [0, 2, 1])])
def test_the_ends_of_the_trade_off_are_value_only_and_diversity_only(trade_off: float, expected: list[int]) -> None:
    wish = Preferences(weights=(1.0, 0.0, 0.0), trade_off=trade_off)
    places = unit([1, 0], [1, 0], [0, 1])
    assert order(plan_queues(Scorer(worth([3, 2, 1]), places, wish), [[0], [1], [2]], length=3)) == expected


def test_a_lists_value_is_the_sum_of_its_steps() -> None:
    def gains(chosen: Sequence[int], candidates: Sequence[int]) -> Floats:
        return np.array([[c + 1.0, 10.0 * len(chosen), -1.0] for c in candidates])

    steps = plan_queues(Scorer(gains, NOWHERE, CLICKS), [[0, 1, 2]], length=3)
    assert np.sum([step.value for step in steps], axis=0).tolist() == [6.0, 30.0, -3.0]


def test_model_gains_are_what_the_model_says_of_the_last_item_of_whole_lists() -> None:
    sizes = ValueConfig(dim=16, layers=2, list_length=5, field_dim=4, cosines=True)
    model = random_model(SPEC, sizes, seed=0)
    request = random_request(SPEC, Limits(5, 1), seed=1, shape=RequestShape(full=True))
    gains = ModelGains(model, {name: array[0] for name, array in request.items()})

    def last(slots: list[int]) -> Floats:
        per_request = ("user_ids", "user_numbers")
        batch = {n: torch.from_numpy(a if n in per_request else a[:, slots].copy()) for n, a in request.items()}
        with torch.inference_mode():
            found: Floats = model.increments(batch)[0, -1].double().numpy()
        return found

    for chosen in ([], [3], [3, 0, 2]):
        for row, slot in zip(gains(chosen, [1, 4]), [1, 4], strict=True):
            np.testing.assert_allclose(row, last([*chosen, slot]), rtol=1e-4, atol=1e-6)


def test_queues_propose_their_first_slots_that_may_stand_there() -> None:
    rules = free(4, 4)
    rules.step_bars[0, 0] = 1
    rules.step_bars[2, 2:] = 1
    scorer = Scorer(worth([5, 1, 3, 2]), NOWHERE, CLICKS)
    steps = plan_queues(scorer, [[0, 1], [2, 3]], length=4, rules=rules)
    # Heads: 1 and 2, then 0 and 3, then 1 alone, then 3.
    assert order(steps) == [2, 0, 1, 3]
    assert [s.runner_up for s in steps] == [1, 3, -1, -1]
    rules.step_bars[1] = 1
    assert order(plan_queues(scorer, [[0, 1], [2, 3]], length=4, rules=rules)) == [2]


def test_a_group_is_barred_while_its_last_picks_have_used_the_room() -> None:
    rules = free(3, 4)
    rules.members[:2, 0] = 1
    rules.room[:, 0] = [1, 1, 2]  # not two of them in a row
    steps = plan_queues(Scorer(worth([5, 4, 3, 2]), NOWHERE, CLICKS), [[0, 1], [2, 3]], length=3, rules=rules)
    assert order(steps) == [0, 2, 1]


def test_boosts_and_shown_items_move_scores_and_leave_values() -> None:
    rules = free(2, 3)
    rules.lifts[1] = 2.0
    rules.seen[0] = [2.5, 0, 2.9]
    half = Preferences(weights=(1.0, 0.0, 0.0), trade_off=0.5)
    scorer = Scorer(worth([5, 2, 5]), NOWHERE, half)
    steps = plan_queues(scorer, [[0, 1, 2]], length=2, head_width=3, rules=rules)
    # 0.5·5 − 0.5·0.5 against 3·0.5·2 − 0.5·0.7, the mean, and 0.5·5 − 0.5·0.9.
    assert order(steps) == [1, 0]
    assert [s.value[0] for s in steps] == [2, 5]
    assert [s.penalty for s in steps] == pytest.approx([0.35, 0])
    assert [s.score for s in steps] == pytest.approx([2.65, 2.5])
    assert [s.sensitivity for s in steps] == [1.5, 0.5]
