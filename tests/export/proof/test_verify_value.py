"""The proof by lost value finds lists that are worth less, lists that are none, and values that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.families.sort_gen import SortGen
from export.proof.precision import to_half
from export.proof.verify import TIE, GraphRunner, ProofError
from export.proof.verify_value import TOLERANCE, ValueProof, check_list, prove_value
from models.contract.arrays import Arrays
from models.planners.runtime import Feeds, GraphPlanner
from tests.export.examples import LIMITS, sort_gen

Outputs = dict[str, NDArray[Any]]
SOURCE = sort_gen()
FULL = GraphPlanner(SOURCE.graph(LIMITS).build({}))
REQUESTS = 40
SEED = 8


def proof_of(planner: GraphRunner, *, most_lost: float = 1.0) -> ValueProof:
    return prove_value(planner, SOURCE, LIMITS, most_lost=most_lost, requests=REQUESTS, seed=SEED)


def backwards(feeds: Feeds) -> Outputs:
    """The list the other way round, with the values that it then has."""
    outputs = dict(FULL(feeds))
    order = outputs["order"][0]
    slots = [int(slot) for slot in order[order >= 0]][::-1]
    order = np.array([slots + [-1] * (len(order) - len(slots))])
    value = np.zeros_like(outputs["value"])
    value[0, : len(slots)] = SOURCE.valuing()(dict(feeds), slots).increments
    return {**outputs, "order": order, "value": value}


def changed(change: Callable[[Outputs], Mapping[str, NDArray[Any]]]) -> GraphRunner:
    """The sound planner with its answers altered."""
    return lambda feeds: {**FULL(feeds), **change(dict(FULL(feeds)))}


@pytest.mark.long
def test_the_exact_graph_changes_a_list_at_exact_ties_alone_and_its_values_are_right() -> None:
    proof = proof_of(FULL, most_lost=100.0)
    assert proof.requests == REQUESTS
    assert proof.changed <= 8, "every fifth request has twins"
    assert 0 < proof.largest_error < 1e-4


def test_float16_is_proved_with_errors_that_full_precision_does_not_have() -> None:
    proof = proof_of(GraphPlanner(to_half(SOURCE.graph(LIMITS).build({}))))
    assert 1e-5 < proof.largest_error < 4 * TOLERANCE
    assert proof.lost_percent <= 1.0
    assert f"{proof.lost_percent:.4f}%" in proof.summary


@pytest.mark.long
def test_lists_that_are_worth_less_are_refused_above_the_limit_and_passed_below_it() -> None:
    found = proof_of(backwards, most_lost=100.0)
    assert found.changed > REQUESTS / 2
    assert 0 < found.lost_percent <= found.worst_percent
    with pytest.raises(ProofError, match=rf"lists lose {found.lost_percent:.4f}% of their value \(at most \d"):
        proof_of(backwards, most_lost=found.lost_percent * 0.99)
    assert proof_of(backwards, most_lost=found.lost_percent * 1.01).lost_percent == found.lost_percent


@pytest.mark.long
def test_what_one_list_loses_is_less_than_what_all_of_them_lose() -> None:
    turn = iter(range(REQUESTS))
    one = proof_of(lambda feeds: backwards(feeds) if next(turn) == 0 else FULL(feeds), most_lost=100.0)
    everywhere = proof_of(backwards, most_lost=100.0)
    assert one.changed < everywhere.changed
    assert one.lost_percent < everywhere.lost_percent


@pytest.mark.long
def test_what_a_replay_may_differ_by_follows_what_was_seen_and_is_never_stricter_than_for_float32() -> None:
    exact, half = proof_of(FULL), proof_of(GraphPlanner(to_half(SOURCE.graph(LIMITS).build({}))))
    assert exact.golden["tie"] >= TIE
    assert exact.golden["tolerance"] == 1e-3
    assert half.golden["tie"] > half.largest_score_error
    assert half.golden["tolerance"] > half.largest_error
    assert set(half.to_json()) >= {"lost_percent", "worst_percent", "most_lost_percent", "changed", "requests"}


@pytest.mark.long
def test_scores_so_coarse_that_no_service_would_take_the_bundle_are_refused() -> None:
    coarse = SortGen(replace(SOURCE.checkpoint, units={**SOURCE.units, "conversion": 1e-5}))
    half = GraphPlanner(to_half(coarse.graph(LIMITS).build({})))
    with pytest.raises(ProofError, match=r"excuses at most 0\.1; this model needs fp32$"):
        prove_value(half, coarse, LIMITS, most_lost=100.0, requests=REQUESTS, seed=SEED)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda o: {"value": o["value"] + np.float32(0.02)}, id="value"),
        pytest.param(lambda o: {"penalty": o["penalty"] + np.float32(0.02)}, id="penalty"),
        pytest.param(lambda o: {"value": o["value"] * np.float32(np.nan)}, id="NaN"),
    ],
)
def test_values_that_are_not_the_exact_models_are_refused(change: Callable[[Outputs], Outputs]) -> None:
    with pytest.raises(ProofError, match=r"^request \d+ of seed 8: values of the list are off by "):
        proof_of(changed(change), most_lost=100.0)


def test_a_list_with_a_candidate_twice_is_refused_naming_the_request() -> None:
    twice = changed(lambda o: {"order": np.where(o["order"] >= 0, o["order"][:, :1], -1)})
    with pytest.raises(ProofError, match=r"^request \d+ of seed 8: the list .* is not \d different candidates"):
        proof_of(twice, most_lost=100.0)


@pytest.mark.parametrize("order", [[3, 3, -1], [3, -1, -1], [3, 1, 5], [3, 2, -1], [3, -1, 1], [-1, 3, 1]])
def test_only_so_many_filled_slots_once_each_are_a_list(order: list[int]) -> None:
    request: Arrays = {"valid": np.array([[False, True, False, True, False, True]])}
    assert check_list({"order": np.array([[3, 1, -1]])}, request, 2) == [3, 1]
    with pytest.raises(ProofError, match="is not 2 different candidates and nothing else"):
        check_list({"order": np.array([order])}, request, 2)
