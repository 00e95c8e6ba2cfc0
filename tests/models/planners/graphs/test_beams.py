"""The beam inside the graph against the plain beam, on random and edge requests."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.families.family import ReferencePlanner
from export.families.sort_gen import SortGen
from export.proof.precision import to_half
from export.proof.requests import RequestShape, random_request, with_preferences
from export.proof.verify import compare, prove
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.nets.checkpoint import Checkpoint
from models.nets.value import ValueConfig
from models.planners.graphs.sort_gen import queue_graph
from models.planners.runtime import GraphPlanner
from tests.models.planners.examples import SPEC, UNITS, random_model
from tests.models.planners.graphs.test_sort_gen import optimised

SIZES = ValueConfig(dim=16, layers=2, heads=2, field_dim=4, context_dim=5)
HEADS = [
    replace(SIZES, head="independent"),
    replace(SIZES, context="none", layers=1),
    replace(SIZES, context="linear", cosines=True),
    replace(SIZES, context="full"),
    replace(SIZES, head="pointwise"),
    replace(SIZES, head="entire-space"),
    replace(SIZES, context="full", cosines=True),
]
BEAMS = [
    Limits(1, 2, beam_width=3),
    Limits(3, 1, beam_width=4),
    Limits(4, 2, beam_width=2),
    Limits(4, 2, head_width=2, beam_width=40),  # more than there are continuations at first
    Limits(5, 3, head_width=2, beam_width=4),
]


@lru_cache(maxsize=32)
def built(limits: Limits, head: int = -1) -> tuple[ReferencePlanner, GraphPlanner]:
    config = replace(HEADS[head], list_length=limits.list_length)
    family = SortGen(Checkpoint(random_model(SPEC, config, seed=limits.slots), UNITS))
    return family.reference(limits), GraphPlanner(family.graph(limits).build({}))


def request_of(limits: Limits, seed: int, trade_off: float = 0.8, shape: RequestShape | None = None) -> Arrays:
    return with_preferences(random_request(SPEC, limits, seed, shape), (5.0, 1.0, 1.0), trade_off, 3)


@pytest.mark.long
@settings(deadline=None, max_examples=80)
@given(
    limits=st.sampled_from(BEAMS),
    head=st.integers(0, len(HEADS) - 1),
    shape=st.builds(RequestShape, full=st.booleans(), embedded=st.sampled_from([0.0, 0.5, 1.0]), twins=st.booleans()),
    trade_off=st.sampled_from([0.0, 0.3, 1.0]),
    window=st.integers(0, 6),
    sort=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_graph_plans_as_the_reference_does(
    limits: Limits, head: int, shape: RequestShape, trade_off: float, window: int, sort: bool, seed: int
) -> None:
    plan, planner = built(limits, head)
    request = with_preferences(random_request(SPEC, limits, seed, shape), (5.0, 1.0, 1.0), trade_off, window)
    request["sort_slots"][:, (limits.list_length if sort else 0) :] = -1
    compare(planner(request), plan(request), limits.list_length)


def test_a_beam_is_worth_as_much_as_a_greedy_plan_and_mostly_more() -> None:
    """Not always, since a beam may cut the greedy list's beginning."""
    wide = BEAMS[-1]
    leads = []
    for seed in range(30):
        request = request_of(wide, seed, shape=RequestShape(full=True))
        request["sort_slots"][:] = -1
        beam, greedy = (built(limits)[1](request)["score"].sum() for limits in (wide, replace(wide, beam_width=1)))
        leads.append(float(beam - greedy))
    assert sum(leads) > 0
    assert sum(lead > -1e-5 for lead in leads) >= 28


@pytest.mark.long
def test_every_candidate_of_a_short_request_is_taken_once_and_then_nothing() -> None:
    limits = BEAMS[-1]
    plan, planner = built(limits)
    for seed in range(60):
        request = request_of(limits, seed)
        request["valid"][:, seed % 4 + 1 :] = False
        request["embeddings"][:, seed % 4 + 1 :] = 0
        request["sort_slots"][:] = -1
        filled = np.flatnonzero(request["valid"][0])
        outputs = planner(request)
        order = outputs["order"][0].tolist()
        assert sorted(order[: len(filled)]) == filled.tolist()
        assert order[len(filled) :] == [-1] * (limits.list_length - len(filled))
        for name, nothing in (("value", 0), ("penalty", 0), ("score", 0), ("runner_up", -1)):
            assert (outputs[name][0, len(filled) :] == nothing).all()
        compare(outputs, plan(request), limits.list_length)


def test_rows_of_a_batch_do_not_influence_each_other() -> None:
    limits = BEAMS[-1]
    _, planner = built(limits)
    rows = [
        with_preferences(random_request(SPEC, limits, seed), (5, 1, seed + 1), 0.2 * seed, seed) for seed in range(5)
    ]
    batch = planner({name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
    for i, row in enumerate(rows):
        alone = planner(row)
        np.testing.assert_array_equal(batch["order"][i], alone["order"][0])
        np.testing.assert_allclose(batch["value"][i], alone["value"][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("queues_and_heads", [(3, 1), (4, 2)])
def test_ten_positions_stay_within_the_node_budget(tmp_path: Path, queues_and_heads: tuple[int, int]) -> None:
    """Whatever the beam's width, and the sort's list included."""
    model = random_model(SPEC, ValueConfig(dim=16, layers=3, field_dim=4, cosines=True), seed=0)
    queues, width = queues_and_heads
    graph = queue_graph(model, Limits(10, queues, head_width=width, beam_width=8), UNITS).build({})
    assert len(optimised(graph, tmp_path / "optimised.onnx").graph.node) <= 1350


def test_half_precision_runs_and_finds_lists_as_good() -> None:
    """The blocks' cache lies in one tensor with what must stay in float32."""
    limits = BEAMS[-1]
    config = replace(SIZES, list_length=5)
    family = SortGen(Checkpoint(random_model(SPEC, config, seed=1), UNITS))
    graph = family.graph(limits).build({})
    full, half = GraphPlanner(graph), GraphPlanner(to_half(graph))
    for seed in range(10):
        request = request_of(limits, seed, shape=RequestShape(full=True))
        exact, rounded = (float(planner(request)["score"].sum()) for planner in (full, half))
        assert rounded == pytest.approx(exact, rel=0.02, abs=0.02)


@pytest.mark.long
def test_a_beam_is_proved_like_any_plan() -> None:
    limits = Limits(4, 2, head_width=2, beam_width=3)
    family = SortGen(Checkpoint(random_model(SPEC, replace(SIZES, list_length=4), seed=0), UNITS))
    proof = prove(GraphPlanner(family.graph(limits).build({})), family, limits, requests=40)
    assert proof.requests == 40
    assert proof.near_ties <= 8  # requests with twins
