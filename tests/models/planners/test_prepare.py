"""From a record to the graph's inputs: every slot holds the candidate that its queue has there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from models.contract.features import Encoder
from models.contract.manifest import Limits, Partition, QueueSpec
from models.data.records import Candidate, ListRecord
from models.nets.value import ValueConfig
from models.planners.graphs.sort_gen import queue_graph
from models.planners.prepare import Preparer, formula_scores
from models.planners.references.sort_gen import Preferences
from models.planners.runtime import GraphPlanner
from tests.models.planners.examples import SPEC, UNITS, random_model

WISH = Preferences(weights=(5.0, 1.0, 2.0), trade_off=0.75, window=3)


def record(n: int, **changes: Any) -> ListRecord:
    """Candidate i has ctr 0.01·(i+1), cvr falling in i, and a price."""
    candidates = tuple(
        Candidate(
            f"i{i}",
            scores={"ctr": 0.01 * (i + 1), "cvr": 0.5 / (i + 1)},
            price=10.0 * i,
            features={"category": "abcdef"[i % 6], "stars": i},
            embedding=(float(i), 1.0),
        )
        for i in range(n)
    )
    made: dict[str, Any] = {"candidates": candidates, "exposed": (), "clicks": ()}
    return ListRecord("r", **(made | {"user": {"age": "old"}, "context": {"hour": 18}} | changes))


def preparer(length: int, queues: int, *scores: str, strategy: Partition = "bfs") -> Preparer:
    named = [QueueSpec(f"q{i}", score) for i, score in enumerate(scores)]
    return Preparer(Encoder(SPEC), Limits(length, queues), named, strategy)


@pytest.mark.parametrize(("strategy", "expected"), [("bfs", [4, 3, 0, 1, -1, -1]), ("dfs", [4, 3, 0, 1, -1, -1])])
def test_queues_lie_behind_each_other_and_those_not_asked_for_are_empty(
    strategy: Partition, expected: list[int]
) -> None:
    batch, slots = preparer(2, 3, "ctr", "cvr", strategy=strategy)(record(5), WISH)
    assert slots.tolist() == expected
    assert batch["valid"].tolist() == [[slot >= 0 for slot in expected]]


def test_the_strategy_decides_who_gets_what_both_want() -> None:
    assert preparer(2, 2, "ctr", "ctr", strategy="bfs")(record(5), WISH)[1].tolist() == [4, 2, 3, 1]
    assert preparer(2, 2, "ctr", "ctr", strategy="dfs")(record(5), WISH)[1].tolist() == [4, 3, 2, 1]


def test_slots_are_encoded_in_their_order_and_preferences_lie_beside() -> None:
    one = record(5)
    batch, slots = preparer(2, 3, "ctr", "cvr")(one, WISH)
    encoder = Encoder(SPEC)
    expected = encoder.encode_slots(one.candidates, slots) | encoder.encode_user(one.user, one.context)
    for name, array in expected.items():
        np.testing.assert_array_equal(batch[name], array[None])
    assert batch["objective_weights"].tolist() == [[5.0, 1.0, 2.0]]
    assert batch["trade_off"].tolist() == [0.75]
    assert batch["window"].tolist() == [3]
    dtypes = [str(batch[name].dtype) for name in ("objective_weights", "trade_off", "window")]
    assert dtypes == ["float32", "float32", "int64"]


def test_formulas_may_name_scores_price_and_the_weights_of_the_request() -> None:
    names = ["ctr", "cvr", "price", "alpha", "beta", "gamma"]
    columns = formula_scores(record(3), names, WISH.weights, SPEC)
    assert {name: column.tolist() for name, column in zip(names, columns, strict=True)} == {
        "ctr": pytest.approx([0.01, 0.02, 0.03]),
        "cvr": pytest.approx([0.5, 0.25, 0.5 / 3]),
        "price": [0.0, 10.0, 20.0],
        "alpha": [5.0] * 3,
        "beta": [1.0] * 3,
        "gamma": [2.0] * 3,
    }
    by_price = preparer(2, 1, "gamma*price - alpha*0")(record(3), WISH)[1]
    assert by_price.tolist() == [2, 1]


def test_scores_of_another_model_take_the_place_of_the_records_own() -> None:
    (values,) = formula_scores(record(3), ["ctr*price"], WISH.weights, SPEC, {"ctr": np.array([0.5, 0.25, 0.1])})
    assert values.tolist() == [0.0, 2.5, 2.0]


def test_what_the_service_would_refuse_is_refused_and_the_list_is_named() -> None:
    bad = record(3)
    changed = replace(bad.candidates[1], scores={"ctr": 1.5, "cvr": 0.1})
    bad = replace(bad, candidates=(bad.candidates[0], changed, bad.candidates[2]))
    with pytest.raises(ValueError, match=r"list 'r': candidates\[1\].scores.ctr: must be a probability in 0..1"):
        preparer(2, 1, "ctr")(bad, WISH)
    with pytest.raises(ValueError, match="list 'r': candidates: no candidate has the score 'quality'"):
        preparer(2, 1, "quality")(record(3), WISH)


def test_the_sorts_list_goes_along_where_its_formula_is_known() -> None:
    asked = preparer(3, 2, "ctr", "cvr")
    assert asked(record(5), WISH)[0]["sort_slots"].tolist() == [[-1, -1, -1]]
    batch, slots = replace(asked, sort="gamma*price")(record(5), WISH)
    assert batch["sort_slots"].dtype == np.int64
    assert slots[batch["sort_slots"][0]].tolist() == [4, 3, 2]
    few = replace(asked, sort="price")(record(2), WISH)
    assert few[1][few[0]["sort_slots"][0, :2]].tolist() == [1, 0]
    assert few[0]["sort_slots"][0, 2] == -1


def test_what_is_prepared_fits_the_graph_and_every_candidate_of_a_short_request_is_planned() -> None:
    limits = Limits(4, 3)
    model = random_model(SPEC, ValueConfig(dim=16, layers=1, list_length=4, field_dim=4), seed=0)
    graph = GraphPlanner(queue_graph(model, limits, UNITS).build({}))
    for n in (1, 3, 30):
        batch, slots = preparer(4, 3, "ctr", "cvr", "ctr*cvr*price")(record(n), WISH)
        order = cast(list[int], graph(batch)["order"][0].tolist())
        chosen = [int(slots[slot]) for slot in order if slot >= 0]
        assert len(set(chosen)) == len(chosen) == min(n, 4)
        assert min(chosen) >= 0
