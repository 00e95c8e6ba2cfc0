"""The proof finds what it is there to find: a graph that is a little wrong in any one respect."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.families.degre import Degre
from export.families.family import ModelFamily, Wishes
from export.families.sort_gen import SortGen
from export.proof.verify import TIE, Proof, ProofError, compare, prove
from models.contract.manifest import Limits
from models.planners.references.sort_gen import PlanStep
from models.planners.references.sort_list import ExpectedAnswer
from models.planners.runtime import GraphPlanner
from tests.export.examples import CONFIG, LIMITS, degre, sort_gen
from tests.models.planners.examples import SPEC, random_model

Outputs = dict[str, NDArray[Any]]
SOURCE, POINTING = sort_gen(), degre()
MANY = Limits(4, 1, queue_length=30)


def planner_of(source: ModelFamily, limits: Limits = LIMITS) -> GraphPlanner:
    return GraphPlanner(source.graph(limits).build({}))


def proof_of(planner: object, source: ModelFamily = SOURCE, limits: Limits = LIMITS, requests: int = 60) -> Proof:
    return prove(cast(GraphPlanner, planner), source, limits, requests=requests, seed=7)


def with_other_unit() -> SortGen:
    units = {**SOURCE.units, "gmv": SOURCE.units["gmv"] * 1.01}
    return SortGen(replace(SOURCE.checkpoint, units=units))


def with_changed_weight(name: str, amount: float) -> SortGen:
    model = copy.deepcopy(SOURCE.checkpoint.model)
    with torch.no_grad():
        parameter = dict(model.named_parameters())[name]
        parameter.view(-1)[0] += amount
    return SortGen(replace(SOURCE.checkpoint, model=model))


def feeding(change: Callable[[Outputs], Outputs]) -> Callable[[Outputs], Outputs]:
    """The sound planner, given something else than what was asked."""
    planner = planner_of(SOURCE)
    return lambda feeds: cast(Outputs, planner({**feeds, **change(feeds)}))


def answering(change: Callable[[Outputs], Outputs]) -> Callable[[Outputs], Outputs]:
    """The sound planner, with its answer altered."""
    planner = planner_of(SOURCE)

    def run(feeds: Outputs) -> Outputs:
        outputs = cast(Outputs, planner(feeds))
        return {**outputs, **change(outputs)}

    return run


def test_a_sound_graph_is_proved() -> None:
    proof = proof_of(planner_of(SOURCE))
    assert proof.requests == 60
    assert proof.near_ties <= 12  # only requests with twins
    assert 0 < proof.largest_error < 1e-4
    assert proof.to_json() == {
        "requests": 60,
        "near_ties": proof.near_ties,
        "largest_error": proof.largest_error,
        "tie": 1e-5,
        "tolerance": 1e-4,
    }


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: planner_of(with_changed_weight("heads.click.state_offset", 0.01)), id="head"),
        pytest.param(lambda: planner_of(with_changed_weight("heads.click.skip", 0.01)), id="skip"),
        pytest.param(lambda: planner_of(with_changed_weight("heads.conversion.out_by_state.weight", 0.1)), id="state"),
        pytest.param(lambda: planner_of(with_changed_weight("heads.click.context.0.bias", 0.2)), id="context"),
        pytest.param(lambda: planner_of(with_changed_weight("context_token.weight", 0.2)), id="context's token"),
        pytest.param(lambda: planner_of(with_changed_weight("input.bias", 0.05)), id="input"),
        pytest.param(lambda: planner_of(with_changed_weight("blocks.0.qkv.weight", 0.5)), id="attention"),
        pytest.param(lambda: planner_of(with_changed_weight("input.position.weight", 0.5)), id="position"),
        pytest.param(lambda: planner_of(with_other_unit()), id="unit"),
        pytest.param(lambda: feeding(lambda f: {"window": f["window"] + 1}), id="window"),
        pytest.param(lambda: feeding(lambda f: {"trade_off": np.float32(0.98) * f["trade_off"]}), id="trade-off"),
        pytest.param(lambda: feeding(lambda f: {"objective_weights": f["objective_weights"] + 0.1}), id="weights"),
        pytest.param(lambda: feeding(lambda f: {"price": f["price"] * np.float32(1.01)}), id="price"),
        pytest.param(lambda: feeding(lambda f: {"priors": f["priors"] + np.float32(0.01)}), id="priors"),
        pytest.param(lambda: feeding(lambda f: {"item_ids": f["item_ids"][:, ::-1]}), id="ids"),
        pytest.param(lambda: feeding(lambda f: {"embeddings": f["embeddings"][:, ::-1]}), id="embeddings"),
        pytest.param(lambda: feeding(lambda f: {"sort_slots": np.full_like(f["sort_slots"], -1)}), id="no sort"),
        pytest.param(lambda: answering(lambda o: {"kept_sort": ~o["kept_sort"]}), id="other list"),
        pytest.param(lambda: feeding(lambda f: {"valid": np.ones_like(f["valid"])}), id="empty slots"),
        pytest.param(lambda: answering(lambda o: {"value": o["value"] + np.float32(3e-4)}), id="value"),
        pytest.param(lambda: answering(lambda o: {"penalty": o["penalty"] + np.float32(3e-4)}), id="penalty"),
        pytest.param(lambda: answering(lambda o: {"score": o["score"] * np.float32(np.nan)}), id="NaN"),
        pytest.param(lambda: answering(lambda o: {"order": o["order"][:, ::-1]}), id="order"),
        pytest.param(lambda: answering(lambda o: {"runner_up": np.full_like(o["runner_up"], -1)}), id="runner-up"),
        pytest.param(
            lambda: answering(lambda o: {"order": np.where(o["order"] < 0, 0, o["order"])}), id="past the end"
        ),
    ],
)
def test_a_graph_that_is_a_little_wrong_is_refused_naming_request_and_position(make: Callable[[], object]) -> None:
    with pytest.raises(ProofError, match=r"^request \d+ of seed 7: (position \d+: |the graph kept )"):
        proof_of(make())


def with_changed_pointer(name: str, amount: float) -> Degre:
    generator = copy.deepcopy(POINTING.checkpoint.generator)
    with torch.no_grad():
        dict(generator.named_parameters())[name].view(-1)[0] += amount
    return Degre(replace(POINTING.checkpoint, generator=generator))


def test_a_sound_decoding_graph_is_proved() -> None:
    proof = proof_of(planner_of(POINTING, MANY), POINTING, MANY)
    assert proof.requests == 60
    assert proof.near_ties <= 12
    assert 0 < proof.largest_error < 1e-4


@pytest.mark.parametrize(
    "name",
    [
        *("start.weight", "start_bias", "position.weight", "fuse.weight", "norm.bias", "decoder.0.qkv.weight"),
        *("encoder.norm.weight", "encoder.input.qkv.weight", "encoder.input.domains.item.norm.bias"),
    ],
)
def test_a_decoding_graph_of_a_slightly_different_generator_is_refused(name: str) -> None:
    with pytest.raises(ProofError, match=r"^request \d+ of seed 7: position \d+: "):
        proof_of(planner_of(with_changed_pointer(name, 0.5), MANY), POINTING, MANY)


def indifferent() -> SortGen:
    """A model of the papers' head to which all candidates are the same, and conversions never happen."""
    model = random_model(SPEC, replace(CONFIG, head="independent"), seed=0)
    with torch.no_grad():
        for head in model.heads.values():
            cast(torch.nn.Linear, head.out).weight.zero_()
        cast(torch.nn.Linear, model.heads["conversion"].out).bias.fill_(-50.0)
    return SortGen(replace(SOURCE.checkpoint, model=model))


def test_choosing_the_other_of_two_near_equals_is_excused_and_counted() -> None:
    source = indifferent()
    planner = planner_of(source)

    def other(feeds: Outputs) -> Outputs:
        outputs = cast(Outputs, planner(feeds))
        order, runner_up = outputs["order"].copy(), outputs["runner_up"].copy()
        swap = runner_up[:, 0] >= 0
        order[swap, 0], runner_up[swap, 0] = outputs["runner_up"][swap, 0], outputs["order"][swap, 0]
        return {**outputs, "order": order, "runner_up": runner_up}

    # Where all candidates tie, rounding alone decides now and then.
    assert proof_of(planner, source).near_ties < 20
    assert proof_of(other, source).near_ties > 50


def step(slot: int, margin: float = math.inf, runner_up: int = -1) -> PlanStep:
    scores = {slot: 0.75} | ({} if runner_up < 0 else {runner_up: 0.75 - margin})
    return PlanStep(slot, np.array([0.5, 0.25, 40.0]), 0.125, 0.75, runner_up, margin, scores, sensitivity=0.0)


def answer(order: list[int], runner_up: int = -1, **changes: Any) -> Outputs:
    n = len(order)
    outputs = {
        "order": np.array([order]),
        "value": np.tile(np.array([0.5, 0.25, 40.0], np.float32), (1, n, 1)),
        "penalty": np.full((1, n), 0.125, np.float32),
        "score": np.full((1, n), 0.75, np.float32),
        "runner_up": np.full((1, n), runner_up),
    }
    return {**outputs, **{name: np.asarray(value) for name, value in changes.items()}}


def test_equal_lists_agree_without_error() -> None:
    assert compare(answer([3, 1, -1]), ExpectedAnswer([step(3), step(1)]), 3) == (False, 0.0)


def test_a_difference_is_excused_below_the_tie_and_not_at_it() -> None:
    assert compare(
        answer([2, 1], runner_up=9), ExpectedAnswer([step(3, margin=TIE * 0.99, runner_up=9), step(1)]), 2
    ) == (
        True,
        0.0,
    )
    with pytest.raises(ProofError, match=r"^position 0: the graph chose slot 2, the reference 3 by 1\.00e-05$"):
        compare(answer([2, 1], runner_up=9), ExpectedAnswer([step(3, margin=TIE, runner_up=9), step(1)]), 2)


def test_what_follows_a_near_tie_is_not_compared_and_what_precedes_it_is() -> None:
    steps = [step(3), step(1, margin=0.0), step(2)]
    assert compare(answer([3, 7, 8]), ExpectedAnswer(steps), 3)[0]
    with pytest.raises(ProofError, match=r"^position 0: score is "):
        compare(answer([3, 7, 8], score=[[0.8, 0, 0]]), ExpectedAnswer(steps), 3)


def test_values_are_held_relative_to_their_size_above_one_and_absolutely_below() -> None:
    fine = answer([3], value=[[[0.5, 0.25, 40.003]]])
    assert compare(fine, ExpectedAnswer([step(3)]), 1)[1] == pytest.approx(0.003 / 40, rel=1e-3)
    with pytest.raises(ProofError, match=r"^position 0: value is "):
        compare(answer([3], value=[[[0.5, 0.25, 40.005]]]), ExpectedAnswer([step(3)]), 1)
    with pytest.raises(ProofError, match=r"^position 0: value is "):
        compare(answer([3], value=[[[0.5, 0.2502, 40.0]]]), ExpectedAnswer([step(3)]), 1)


def test_a_list_that_goes_on_where_nothing_is_left_is_refused() -> None:
    with pytest.raises(ProofError, match=r"^position 1: nothing is left, but the graph chose slot 5$"):
        compare(answer([3, 5]), ExpectedAnswer([step(3)]), 2)


def test_a_list_that_ends_early_is_refused() -> None:
    with pytest.raises(ProofError, match=r"^position 1: the graph chose slot -1, the reference 5"):
        compare(answer([3, -1]), ExpectedAnswer([step(3), step(5)]), 2)


def test_another_runner_up_is_excused_only_if_it_ties_with_the_references() -> None:
    third = replace(step(3, margin=0.2, runner_up=5), scores={3: 0.75, 5: 0.55, 6: 0.55 - TIE / 2, 7: 0.5})
    assert compare(answer([3], runner_up=6), ExpectedAnswer([third]), 1) == (False, 0.0)
    for wrong in (7, 8, 3, -1):
        with pytest.raises(ProofError, match=f"runner_up is {wrong}, the reference says 5"):
            compare(answer([3], runner_up=wrong), ExpectedAnswer([third]), 1)


def kept(answered: Outputs, *, sort: bool) -> Outputs:
    return {**answered, "kept_sort": np.array([sort])}


def worth(slot: int, score: float) -> PlanStep:
    return replace(step(slot), score=score, scores={slot: score})


def test_the_list_that_was_kept_is_held_to_the_references() -> None:
    plan, listed = [step(3), step(1)], [worth(1, 0.75), worth(3, 0.8)]
    sorts = answer([1, 3], score=[[0.75, 0.8]])
    assert compare(kept(sorts, sort=True), ExpectedAnswer(plan, listed), 2)[0] is False
    with pytest.raises(ProofError, match=r"^position 1: score is "):
        compare(kept(answer([1, 3]), sort=True), ExpectedAnswer(plan, listed), 2)
    with pytest.raises(ProofError, match=r"^position 0: the graph chose slot 3, the reference 1 by inf$"):
        compare(kept(answer([3, 1]), sort=True), ExpectedAnswer(plan, listed), 2)


@pytest.mark.parametrize("sort", [False, True])
def test_the_other_list_is_excused_below_the_tie_of_totals_and_not_at_it(sort: bool) -> None:
    plan = [step(3), step(1)]
    sign = -1 if sort else 1
    nearly, clearly = ([worth(1, 0.75), worth(3, 0.75 + sign * TIE * share)] for share in (0.9, 1.1))
    order, other = ([1, 3], nearly) if sort else ([3, 1], nearly)
    scores = [[s.score for s in other]] if sort else [[0.75, 0.75]]
    assert compare(kept(answer(order, score=scores), sort=sort), ExpectedAnswer(plan, nearly), 2)[0] is True
    with pytest.raises(
        ProofError, match=r"^the graph kept (a plan|the sort's list), the reference (a plan|the sort's)"
    ):
        compare(kept(answer(order, score=scores), sort=sort), ExpectedAnswer(plan, clearly), 2)


def test_a_near_tie_in_the_plan_leaves_open_what_the_sort_was_compared_with() -> None:
    plan = [step(3, margin=TIE / 2, runner_up=9), step(1)]
    listed = [worth(1, 0.1), worth(3, 0.1)]
    sorts = kept(answer([1, 3], score=[[0.1, 0.1]]), sort=True)
    assert compare(sorts, ExpectedAnswer(plan, listed), 2)[0] is True
    with pytest.raises(ProofError, match=r"^position 0: score is "):
        compare(kept(answer([1, 3]), sort=True), ExpectedAnswer(plan, listed), 2)


def test_another_list_of_a_beam_is_excused_only_if_the_reference_finds_it_where_a_hair_does_not_count() -> None:
    asked: list[tuple[list[int], float]] = []

    def towards(found: Sequence[int], margin: float) -> list[PlanStep] | None:
        asked.append((list(found), margin))
        return [worth(1, 0.2), worth(3, 0.3)] if list(found) == [1, 3] else None

    tied = ExpectedAnswer([step(3), step(1)], cut=TIE / 2, towards=towards)
    other = answer([1, 3], score=[[0.2, 0.3]])
    assert compare(other, tied, 2)[0] is True
    assert asked == [([1, 3], TIE)]
    with pytest.raises(ProofError, match=r"^position 0: score is "):
        compare(answer([1, 3]), tied, 2)
    for found, reference in ((answer([2, 3]), tied), (other, replace(tied, cut=TIE))):
        with pytest.raises(ProofError, match=r"^position 0: the graph chose slot \d, the reference 3 "):
            compare(found, reference, 2)
    assert compare(answer([3, 1]), tied, 2)[0] is False


def test_a_cut_by_a_hair_leaves_open_what_the_sort_was_compared_with() -> None:
    listed = [worth(1, 0.1), worth(3, 0.1)]
    sorts = kept(answer([1, 3], score=[[0.1, 0.1]]), sort=True)
    assert compare(sorts, ExpectedAnswer([step(3), step(1)], listed, cut=TIE / 2), 2)[0] is True
    with pytest.raises(ProofError, match=r"^the graph kept the sort's list, the reference a plan, "):
        compare(sorts, ExpectedAnswer([step(3), step(1)], listed, cut=TIE), 2)


@pytest.mark.parametrize("family", [SOURCE, POINTING])
def test_a_beam_is_an_option_of_value_models_alone(family: ModelFamily) -> None:
    wishes = Wishes(queues=2, beam_width=3)
    if family is SOURCE:
        assert family.limits(wishes).beam_width == 3
        assert family.limits(Wishes(queues=2)).beam_width == 4
        return
    assert family.limits(Wishes(queues=2)).beam_width == 1
    with pytest.raises(ValueError, match=r"^--beam-width: a generator decodes greedily"):
        family.limits(wishes)
