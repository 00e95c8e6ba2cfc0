"""The greedy decoding graph against the plain reference, on random and edge requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.families.degre import Degre
from export.families.family import ReferencePlanner
from export.proof.requests import RequestShape, random_request, stack, with_preferences
from export.proof.verify import compare
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.contract.spec import FeatureSpec, Number
from models.nets.checkpoint import GeneratorCheckpoint
from models.nets.generator import GeneratorConfig
from models.nets.heads import Context
from models.nets.value import HeadKind, InputBlock, ValueConfig
from models.planners.graphs.degre import pointer_graph
from models.planners.runtime import GraphPlanner
from tests.models.planners.examples import SCORES_ONLY, SPEC, UNITS, random_generator, random_model
from tests.models.planners.graphs.test_sort_gen import optimised

CONTEXT_ONLY = FeatureSpec(context=(Number("hour"),), scores=(Number("ctr"),), price=Number("price"))
SLOT_ARRAYS = ("item_ids", "item_numbers", "item_scores", "priors", "price", "embeddings", "valid")
MIX = {"click": 1.0, "conversion": 0.0, "gmv": 0.0}


class Built(NamedTuple):
    """A family with its reference and its graph."""

    degre: Degre
    plan: ReferencePlanner
    planner: GraphPlanner
    length: int


@lru_cache
def built(
    spec: FeatureSpec = SPEC,
    length: int = 5,
    *,
    conditioned: bool = False,
    block: InputBlock = "fields",
    context: Context | None = None,
    cosines: bool = False,
    head: HeadKind = "independent",
) -> Built:
    """Without a `context` the evaluator has the papers' head, or another that has none."""
    degre = family(spec, length, conditioned=conditioned, block=block, context=context, cosines=cosines, head=head)
    limits = Limits(length, 1, queue_length=200)
    return Built(degre, degre.reference(limits), GraphPlanner(degre.graph(limits).build({})), length)


def family(
    spec: FeatureSpec = SPEC,
    length: int = 5,
    *,
    conditioned: bool = False,
    block: InputBlock = "fields",
    context: Context | None = None,
    cosines: bool = False,
    head: HeadKind = "independent",
) -> Degre:
    sizes = GeneratorConfig(dim=16, layers=2, heads=2, list_length=length, field_dim=4, conditioned=conditioned)
    evaluator = ValueConfig(dim=16, layers=2, heads=2, list_length=length + 1, field_dim=4, input_block=block)
    if context is None:
        evaluator = replace(evaluator, head=head)
    else:
        evaluator = replace(evaluator, context=context, cosines=cosines, context_dim=5)
    models = random_generator(spec, sizes, seed=3), random_model(spec, evaluator, seed=4)
    return Degre(GeneratorCheckpoint(*models, UNITS, MIX))


def request_of(n: int, seed: int = 0, shape: RequestShape | None = None) -> Arrays:
    return random_request(SPEC, Limits(n, 1), seed, shape or RequestShape(full=True))


VARIANTS = st.sampled_from(
    [
        lambda: built(),
        lambda: built(head="pointwise"),
        lambda: built(block="concat", head="entire-space"),
        lambda: built(conditioned=True, context="full", cosines=True),
        lambda: built(context="full"),
        lambda: built(context="linear", cosines=True),
        lambda: built(length=1),
        lambda: built(length=2, block="concat"),
        lambda: built(CONTEXT_ONLY, 2, context="full"),
        lambda: built(CONTEXT_ONLY, 1, block="concat", context="linear"),
        lambda: built(SCORES_ONLY, conditioned=True),
        lambda: built(SCORES_ONLY, block="concat", context="none"),
    ]
)
SHAPES = st.builds(RequestShape, full=st.booleans(), embedded=st.sampled_from([0.0, 0.5, 1.0]), twins=st.booleans())
WEIGHTS = st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 5.0])] * 3).filter(lambda w: sum(w) > 0)


@pytest.mark.long
@settings(deadline=None, max_examples=100)
@given(
    variant=VARIANTS,
    n=st.sampled_from([1, 2, 3, 5, 12]),
    shape=SHAPES,
    weights=WEIGHTS,
    trade_off=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    window=st.integers(0, 6),
    seed=st.integers(0, 2**31),
)
def test_the_graph_plans_as_the_reference_does(
    variant: Callable[[], Built],
    n: int,
    shape: RequestShape,
    weights: tuple[float, float, float],
    trade_off: float,
    window: int,
    seed: int,
) -> None:
    degre, plan, planner, length = variant()
    request = with_preferences(random_request(degre.spec, Limits(n, 1), seed, shape), weights, trade_off, window)
    compare(planner(request), plan(request), length)


@pytest.mark.parametrize("n", [100, 200])
def test_many_candidates_are_planned_as_the_reference_does(n: int) -> None:
    _, plan, planner, length = built(conditioned=True)
    request = with_preferences(request_of(n), (5, 1, 1), 0.6, 3)
    tied, _ = compare(planner(request), plan(request), length)
    assert not tied


def test_a_list_may_have_twenty_positions() -> None:
    _, plan, planner, length = built(length=20, context="full", cosines=True)
    request = with_preferences(request_of(24), (5, 1, 1), 0.9, 20)
    compare(planner(request), plan(request), length)
    assert len(set(planner(request)["order"][0].tolist())) == 20


def test_with_all_weight_on_value_it_is_the_generators_own_greedy_list() -> None:
    degre, _, planner, length = built()
    generator = degre.checkpoint.generator
    for n in (2, 5, 30):
        request = with_preferences(request_of(n, seed=n), (1, 0, 0), 1.0, 4)
        batch = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in request.items()}
        assert planner(request)["order"].tolist() == generator.generate(batch, length).tolist()


def test_every_candidate_is_taken_once_and_then_nothing() -> None:
    _, _, planner, length = built()
    for n in (1, 2, 4):
        outputs = planner(with_preferences(request_of(n), (1, 0, 0), 0.5, 9))
        order = outputs["order"][0].tolist()
        assert sorted(order[:n]) == list(range(n))
        assert order[n:] == [-1] * (length - n)
        for name, nothing in (("value", 0), ("penalty", 0), ("score", 0), ("runner_up", -1)):
            assert (outputs[name][0, n:] == nothing).all()
        assert outputs["runner_up"][0, n - 1] == -1


@settings(deadline=None, max_examples=25)
@given(n=st.integers(2, 12), seed=st.integers(0, 2**31), trade_off=st.sampled_from([0.4, 1.0]))
def test_reordering_candidates_reorders_the_answer(n: int, seed: int, trade_off: float) -> None:
    _, plan, planner, _ = built()
    request = with_preferences(request_of(n, seed), (1, 0, 0), trade_off, 3)
    assume(min(step.margin for step in plan(request).steps) > 1e-4)
    turned = np.random.default_rng(seed).permutation(n)
    found = planner({k: a[:, turned] if k in SLOT_ARRAYS else a for k, a in request.items()})
    expected = planner(request)
    chosen = found["order"][0]
    slots = np.where(chosen >= 0, turned[np.asarray(chosen, np.int64)], -1)
    np.testing.assert_array_equal(slots, expected["order"][0])
    values = np.stack([np.asarray(outputs["value"], np.float64) for outputs in (found, expected)])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4, atol=1e-5)


def test_neither_padding_nor_neighbours_in_a_batch_change_an_answer() -> None:
    _, _, planner, _ = built(conditioned=True)
    rows = [
        with_preferences(request_of(n, seed=n), (5, 1, n), trade_off, n % 5)
        for n, trade_off in ((1, 0.7), (12, 1.0), (3, 0.2), (30, 0.9))
    ]
    batch = planner(stack(rows))
    for i, row in enumerate(rows):
        alone = planner(row)
        np.testing.assert_array_equal(batch["order"][i], alone["order"][0])
        for name in ("value", "penalty", "score"):
            found, expected = (np.asarray(a, np.float64) for a in (batch[name][i], alone[name][0]))
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_twins_are_taken_from_the_lower_slot_on() -> None:
    """Equal candidates tie exactly; without embeddings MMR does not tell them apart either."""
    _, _, planner, _ = built()
    request = request_of(4, shape=RequestShape(full=True, embedded=0.0))
    same: Arrays = {k: np.repeat(a[:, :1], 4, axis=1) if k in SLOT_ARRAYS else a for k, a in request.items()}
    outputs = planner(with_preferences(same, (1, 0, 0), 0.8, 4))
    assert outputs["order"][0].tolist() == [0, 1, 2, 3, -1]
    assert outputs["score"][0, :4].tolist() == pytest.approx([0.8 / 4, 0.8 / 3, 0.8 / 2, 0.8])


def test_only_a_conditioned_generator_takes_weights_and_only_their_shares_count() -> None:
    assert "objective_weights" not in built().planner.inputs
    _, _, planner, _ = built(conditioned=True)
    rows = [with_preferences(request_of(12), weights, 1.0, 0) for weights in ((5, 1, 1), (10, 2, 2), (0, 0, 1))]
    first, doubled, other = (np.asarray(planner(row)["score"], np.float64) for row in rows)
    np.testing.assert_allclose(first, doubled, rtol=1e-5)
    assert not np.allclose(first, other, rtol=1e-2)


def test_a_window_of_nothing_and_all_weight_on_value_are_the_same_list() -> None:
    _, _, planner, _ = built()
    by_value, by_window = (planner(with_preferences(request_of(12), (1, 0, 0), *wish)) for wish in ((1.0, 4), (0.5, 0)))
    assert by_value["order"].tolist() == by_window["order"].tolist()
    assert not by_window["penalty"].any()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(6, 1), "list_length 6 is past the generator's horizon 5"),
        (Limits(5, 1, beam_width=2), "beam_width: a pointer decodes one list, so it must be 1, not 2"),
        (Limits(5, 1, head_width=2), "head_width: a pointer sees every candidate, so it must be 1, not 2"),
    ],
)
def test_limits_that_do_not_fit_the_generator_are_refused(limits: Limits, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        family().graph(limits)


def test_an_evaluator_with_a_shorter_horizon_or_other_features_is_refused() -> None:
    generator = family().checkpoint.generator
    sizes = ValueConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4)
    with pytest.raises(ValueError, match="list_length 5 is past the evaluator's horizon 4"):
        pointer_graph(generator, random_model(SPEC, sizes, 0), Limits(5, 1))
    with pytest.raises(ValueError, match="must have the same feature spec"):
        pointer_graph(generator, random_model(SCORES_ONLY, sizes, 0), Limits(4, 1))


@pytest.mark.parametrize(
    ("evaluator", "budget"),
    [
        (ValueConfig(layers=6, list_length=6, input_block="fields", head="independent"), 660),
        (ValueConfig(layers=6, list_length=6, input_block="fields", cosines=True), 690),
    ],
)
def test_twelve_to_six_stays_within_its_node_budget(tmp_path: Path, evaluator: ValueConfig, budget: int) -> None:
    """Nodes are what a small request costs, so their number is a budget."""
    generator = random_generator(SPEC, GeneratorConfig(), seed=0)
    graph = pointer_graph(generator, random_model(SPEC, evaluator, seed=0), Limits(6, 1, queue_length=12)).build({})
    assert len(optimised(graph, tmp_path / "optimised.onnx").graph.node) <= budget


def test_cosines_count_only_within_the_window() -> None:
    """All candidates are one item in three places: slots 0, 1 and 2 in turn lie at 0°, 0° and 90°."""
    _, _, planner, _ = built()
    request = request_of(3, shape=RequestShape(full=True, embedded=0.0))
    same: Arrays = {k: np.repeat(a[:, :1], 3, axis=1) if k in SLOT_ARRAYS else a for k, a in request.items()}
    same["embeddings"] = np.array([[[1, 0], [1, 0], [0, 1]]], np.float32)

    def wish(window: int) -> tuple[list[int], NDArray[np.generic]]:
        outputs = planner(with_preferences(same, (1, 0, 0), 0.5, window))
        return outputs["order"][0, :3].tolist(), outputs["penalty"][0, :3]

    near, charged = wish(1)
    assert near == [0, 2, 1]
    assert charged.tolist() == pytest.approx([0, 0, 0])
    far, charged = wish(2)
    assert far == [0, 2, 1]
    assert charged.tolist() == pytest.approx([0, 0, 0.5])
