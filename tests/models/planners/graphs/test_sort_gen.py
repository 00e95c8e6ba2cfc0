"""The generation graph against the plain reference, on random and edge requests."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.families.family import ReferencePlanner
from export.families.sort_gen import SortGen
from export.proof.requests import RequestShape, random_request, with_preferences
from export.proof.verify import compare, prove
from models.contract.manifest import Limits
from models.contract.spec import Category, FeatureSpec, Number
from models.nets.checkpoint import Checkpoint
from models.nets.value import ValueConfig
from models.planners.graphs.sort_gen import queue_graph
from models.planners.runtime import GraphPlanner, session_options
from tests.models.planners.examples import SCORES_ONLY, SPEC, UNITS, random_model

SIZES = ValueConfig(dim=32, layers=2, heads=4, field_dim=8, context_dim=6)
HEADS = [
    replace(SIZES, head="independent"),
    replace(SIZES, context="none", states=1),
    replace(SIZES, context="none"),
    replace(SIZES, context="linear", states=2),
    replace(SIZES, context="linear", cosines=True),
    replace(SIZES, context="full"),
    replace(SIZES, head="pointwise"),
    replace(SIZES, head="entire-space"),
    replace(SIZES, context="full", cosines=True),
]
CATEGORIES = FeatureSpec(item=(Category("kind", ("a", "b")),), scores=(Number("ctr", transform="logit"),))


@lru_cache(maxsize=32)
def built(spec: FeatureSpec, limits: Limits, head: int = -1) -> tuple[ReferencePlanner, GraphPlanner]:
    config = replace(HEADS[head], list_length=limits.list_length)
    family = SortGen(Checkpoint(random_model(spec, config, seed=limits.slots), UNITS))
    return family.reference(limits), GraphPlanner(family.graph(limits).build({}))


LIMITS = st.builds(
    Limits, list_length=st.sampled_from([1, 2, 5, 8]), queues=st.integers(1, 4), head_width=st.sampled_from([1, 2, 4])
)
SHAPES = st.builds(RequestShape, full=st.booleans(), embedded=st.sampled_from([0.0, 0.5, 1.0]), twins=st.booleans())
WEIGHTS = st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 5.0])] * 3).filter(lambda w: sum(w) > 0)


@pytest.mark.long
@settings(deadline=None, max_examples=150)
@given(
    limits=LIMITS,
    spec=st.sampled_from([SPEC, SCORES_ONLY, CATEGORIES]),
    head=st.integers(0, len(HEADS) - 1),
    shape=SHAPES,
    weights=WEIGHTS,
    trade_off=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    window=st.integers(0, 9),
    seed=st.integers(0, 2**31),
)
def test_the_graph_plans_as_the_reference_does(
    limits: Limits,
    spec: FeatureSpec,
    head: int,
    shape: RequestShape,
    weights: tuple[float, float, float],
    trade_off: float,
    window: int,
    seed: int,
) -> None:
    plan, planner = built(spec, limits, head)
    request = with_preferences(random_request(spec, limits, seed, shape), weights, trade_off, window)
    compare(planner(request), plan(request), limits.list_length)


@settings(deadline=None, max_examples=30)
@given(price=st.sampled_from([1e4, 1e6, 1e9]), seed=st.integers(0, 2**31))
def test_a_candidate_of_any_value_is_chosen_before_an_empty_slot(price: float, seed: int) -> None:
    """An increment below nothing times a dear price is far below nothing."""
    limits = Limits(list_length=5, queues=3, head_width=2)
    _, planner = built(SPEC, limits, 0)
    request = with_preferences(random_request(SPEC, limits, seed), (5.0, 1.0, 1.0), 0.8, 3)
    request["price"] = np.asarray(request["price"], np.float32) * np.float32(price)
    chosen = planner(request)["order"][0] >= 0
    expected = min(limits.list_length, int(request["valid"].sum()))
    assert chosen.tolist() == [place < expected for place in range(limits.list_length)]


def test_rows_of_a_batch_do_not_influence_each_other() -> None:
    limits = Limits(list_length=6, queues=3, head_width=2)
    _, planner = built(SPEC, limits)
    rows = [with_preferences(random_request(SPEC, limits, seed), (5, 1, seed + 1), 0.7, seed) for seed in range(5)]
    batch = planner({name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
    for i, row in enumerate(rows):
        alone = planner(row)
        np.testing.assert_array_equal(batch["order"][i], alone["order"][0])
        np.testing.assert_allclose(batch["value"][i], alone["value"][0], rtol=1e-4, atol=1e-5)


def test_a_shorter_list_is_the_head_of_a_longer_one() -> None:
    """Greedy generation never looks ahead, which is why a service can cut the graph's answer at top_n."""
    model = random_model(SPEC, ValueConfig(dim=32, layers=2, list_length=8), seed=3)
    request = random_request(SPEC, Limits(8, 2), seed=5, shape=RequestShape(full=True))
    request = with_preferences(request, (5, 1, 1), 0.8, 3)
    request["sort_slots"][:] = -1
    whole = GraphPlanner(queue_graph(model, Limits(8, 2), UNITS).build({}))(request)
    head = {name: _first_ranks(array, queues=2, length=8, keep=3) for name, array in request.items()}
    head["sort_slots"] = request["sort_slots"][:, :3]
    short = GraphPlanner(queue_graph(model, Limits(3, 2), UNITS).build({}))(head)
    in_short = [(slot // 3, slot % 3) for slot in short["order"][0].tolist()]
    in_whole = [(slot // 8, slot % 8) for slot in whole["order"][0, :3].tolist()]
    assert in_short == in_whole


def _first_ranks(array: NDArray[np.generic], *, queues: int, length: int, keep: int) -> NDArray[np.generic]:
    """An array [1, Q·L, …] cut to the first ranks of every queue; others as they are."""
    if array.shape[1:2] != (queues * length,):
        return array
    rest = array.shape[2:]
    return array.reshape(1, queues, length, *rest)[:, :, :keep].reshape(1, queues * keep, *rest)


def test_a_horizon_past_the_models_is_refused() -> None:
    model = random_model(SPEC, ValueConfig(dim=32, layers=1, list_length=4), seed=0)
    with pytest.raises(ValueError, match="past the model's horizon 4"):
        queue_graph(model, Limits(list_length=5, queues=2), UNITS)


def test_queues_of_another_depth_than_the_list_are_refused() -> None:
    model = random_model(SPEC, ValueConfig(dim=32, layers=1, list_length=4), seed=0)
    with pytest.raises(ValueError, match=r"^queue_length: must be list_length \(4\), not 9$"):
        queue_graph(model, Limits(4, 2, queue_length=9), UNITS)


def test_the_field_input_plans_as_its_reference_does() -> None:
    limits = Limits(list_length=4, queues=2, head_width=2)
    config = ValueConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4, input_block="fields")
    family = SortGen(Checkpoint(random_model(SPEC, config, seed=0), UNITS))
    assert prove(GraphPlanner(family.graph(limits).build({})), family, limits, requests=20).requests == 20


@pytest.mark.parametrize(
    ("changes", "budget"),
    [
        ({"head": "independent"}, 813),
        ({"context": "none"}, 843),
        ({"context": "full", "affinity": 0}, 925),
        ({"context": "linear"}, 914),
        ({"context": "full"}, 931),
        ({"context": "full", "cosines": True}, 960),
    ],
)
def test_ten_positions_stay_within_the_node_budget(tmp_path: Path, changes: dict[str, Any], budget: int) -> None:
    """Nodes are what a request costs (docs/performance.md), so their number is a budget. Width does not matter.

    Valuing the sort's list beside the plan is counted apart.
    """
    model = random_model(SPEC, replace(ValueConfig(dim=16, layers=3, field_dim=4), **changes), seed=0)
    graph = queue_graph(model, Limits(list_length=10, queues=3), UNITS).build({})
    nodes = optimised(graph, tmp_path / "optimised.onnx").graph.node
    beside = [node for node in nodes if node.name.startswith(("sort/", "keep/", "output/kept_sort"))]
    assert len(nodes) - len(beside) <= budget
    assert len(beside) <= (0 if changes.get("head") else 120)


def test_an_objective_that_is_not_valued_brings_nothing() -> None:
    limits = Limits(list_length=4, queues=2)
    model = random_model(SPEC, replace(SIZES, list_length=4), seed=0)
    model.get_buffer("valued")[1] = 0
    family = SortGen(Checkpoint(model, UNITS))
    planner = GraphPlanner(family.graph(limits).build({}))
    assert prove(planner, family, limits, requests=20).requests == 20
    request = with_preferences(random_request(SPEC, limits, 1, RequestShape(full=True)), (1, 1, 1), 1.0, 0)
    value = planner(request)["value"][0]
    assert (value[:, 0] > 0).all()
    assert not value[:, 1:].any()


def test_a_skip_below_nothing_is_none() -> None:
    """As in `HazardHead.base`: a ranking stage's score never counts against an item."""
    limits = Limits(list_length=3, queues=2)
    model = random_model(SPEC, replace(SIZES, list_length=3), seed=0)
    with torch.no_grad():
        model.hazard_heads[0].skip.fill_(-1.0)
    family = SortGen(Checkpoint(model, UNITS))
    assert prove(GraphPlanner(family.graph(limits).build({})), family, limits, requests=20).requests == 20


def test_a_vast_window_is_one_that_holds_the_whole_list() -> None:
    """The context counts steps beside it, in float32."""
    limits = Limits(list_length=5, queues=3, head_width=2)
    _, planner = built(SPEC, limits)
    request = random_request(SPEC, limits, 3, RequestShape(full=True, embedded=1.0))
    whole, vast = (planner(with_preferences(request, (5, 1, 1), 0.5, window)) for window in (5, 2**62))
    for name, array in whole.items():
        np.testing.assert_array_equal(array, vast[name])


def optimised(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The graph as ONNX Runtime runs it."""
    options = session_options()
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(path)
