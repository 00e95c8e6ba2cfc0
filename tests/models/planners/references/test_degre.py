"""The plain greedy decoder on cases worked by hand. Probabilities come from a table: no model hides a mistake."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.proof.requests import RequestShape, random_request, with_preferences
from models.contract.manifest import Limits
from models.nets.generator import GeneratorConfig
from models.planners.references.degre import ModelPointer, Pointer, plan_pointer
from models.planners.references.sort_gen import PlanStep, Preferences, Scorer
from tests.models.planners.examples import SPEC, random_generator

Floats = NDArray[np.float64]
NOWHERE = np.zeros((9, 1), np.float32)
PLAIN = Preferences(weights=(1.0, 0.0, 0.0))


def strengths(table: Sequence[float]) -> Pointer:
    """Slot i's share of what is left is proportional to ``table[i]``."""
    return lambda _, left: np.array([table[i] for i in left]) / sum(table[i] for i in left)


def worth(chosen: Sequence[int], candidates: Sequence[int]) -> Floats:
    return np.array([[10.0 * len(chosen) + c, 0.0, 0.0] for c in candidates])


def order(steps: Sequence[PlanStep]) -> list[int]:
    return [step.slot for step in steps]


def test_each_step_takes_the_likeliest_of_what_is_left() -> None:
    steps = plan_pointer(strengths([1, 4, 3, 2]), Scorer(worth, NOWHERE, PLAIN), [0, 1, 2, 3], length=3)
    assert order(steps) == [1, 2, 3]
    assert [s.score for s in steps] == pytest.approx([4 / 10, 3 / 6, 2 / 3])
    assert [s.runner_up for s in steps] == [2, 3, 0]
    assert [s.margin for s in steps] == pytest.approx([1 / 10, 1 / 6, 1 / 3])
    assert [s.value[0] for s in steps] == [1, 12, 23]


def test_it_ends_when_nothing_is_left() -> None:
    steps = plan_pointer(strengths([1, 4]), Scorer(worth, NOWHERE, PLAIN), [0, 1], length=5)
    assert order(steps) == [1, 0]
    assert (steps[1].runner_up, steps[1].margin) == (-1, math.inf)
    assert plan_pointer(strengths([]), Scorer(worth, NOWHERE, PLAIN), [], length=5) == []


def test_empty_slots_are_never_taken_and_ties_go_to_the_lower_slot() -> None:
    assert order(plan_pointer(strengths([1, 1, 1, 1]), Scorer(worth, NOWHERE, PLAIN), [3, 1], length=4)) == [1, 3]


def test_probability_is_traded_for_distance_to_what_was_chosen() -> None:
    # Slot 1 is slot 0's twin, slot 2 stands at right angles: .5·4/5 − .5 against .5·1/5.
    places = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    half = Preferences(weights=(1.0, 0.0, 0.0), trade_off=0.5, window=2)
    steps = plan_pointer(strengths([5, 4, 1]), Scorer(worth, places, half), [0, 1, 2], length=3)
    assert order(steps) == [0, 2, 1]
    assert [s.penalty for s in steps] == pytest.approx([0, 0, 0.5])
    assert [s.score for s in steps] == pytest.approx([0.25, 0.1, 0.0])


def test_the_models_pointer_is_its_own_teacher_forced_distribution() -> None:
    generator = random_generator(SPEC, GeneratorConfig(dim=16, layers=1, heads=2, list_length=3, field_dim=4), seed=0)
    request = with_preferences(random_request(SPEC, Limits(5, 1), 1, RequestShape(full=True)), (1, 0, 0), 1.0, 0)
    batch = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in request.items()}
    with torch.inference_mode():
        expected = generator(batch, torch.tensor([[[3, 0, 4]]])).exp()[0, 0]
    pointer = ModelPointer(generator, request)
    for t, chosen in enumerate(([], [3], [3, 0])):
        left = [slot for slot in range(5) if slot not in chosen]
        np.testing.assert_allclose(pointer(chosen, left), expected[t, left], rtol=1e-4)
