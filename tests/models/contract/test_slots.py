"""From a request to its slots: the laws of reading scores, against cases worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.contract.manifest import QueueSpec
from models.contract.scalars import FeatureError
from models.contract.slots import ScoreTable, fill_slots, sort_slots
from models.contract.spec import FeatureSpec, Number
from models.data.records import Candidate

SPEC = FeatureSpec(
    scores=(Number("ctr", default=0.05, transform="logit"), Number("relevance")), price=Number("price", default=20.0)
)
BARE = FeatureSpec()
WEIGHTS = (5.0, 1.0, 2.0)


def candidates(*rows: Mapping[str, float]) -> list[Candidate]:
    """One candidate per row of scores; ``price`` in a row is its price."""
    scores = [{name: value for name, value in row.items() if name != "price"} for row in rows]
    return [Candidate(str(i), s, row.get("price")) for i, (s, row) in enumerate(zip(scores, rows, strict=True))]


def value(formula: str, *rows: Mapping[str, float], spec: FeatureSpec = SPEC) -> list[float]:
    table = ScoreTable(candidates(*rows), WEIGHTS, spec)
    found: list[float] = table.score(formula, "here", needed_by="the test").tolist()
    return found


def problem(formula: str, *rows: Mapping[str, float], spec: FeatureSpec = SPEC) -> tuple[str, str]:
    with pytest.raises(FeatureError) as caught:
        value(formula, *rows, spec=spec)
    return caught.value.path, caught.value.problem


def test_formulas_name_scores_price_and_weights() -> None:
    rows = {"ctr": 0.5, "price": 4.0}, {"ctr": 0.25, "price": 8.0}
    assert value("ctr", *rows) == [0.5, 0.25]
    assert value("alpha*ctr + gamma*price - beta", *rows) == [9.5, 16.25]
    assert value("beta", *rows) == [1.0, 1.0]


def test_the_names_of_price_and_weights_mean_those_even_where_a_score_has_the_same_name() -> None:
    made = [Candidate("a", {"price": 7.0, "alpha": 9.0}, price=3.0)]
    table = ScoreTable(made, WEIGHTS, SPEC)
    assert table.score("price", "", needed_by="") == [3.0]
    assert table.score("alpha", "", needed_by="") == [5.0]


def test_a_missing_score_or_price_is_the_specs_default() -> None:
    assert value("ctr", {"ctr": 0.5}, {}) == [0.5, 0.05]
    assert value("price", {"price": 3.0}, {}) == [3.0, 20.0]
    assert value("price", {}, {}) == [20.0, 20.0]


def test_a_score_that_nobody_has_is_refused_though_the_spec_has_a_default() -> None:
    field, text = problem("ctr", {"relevance": 1.0}, {})
    assert field == "here"
    assert text == "no candidate has the score 'ctr', which the test needs; the scores in the request are: relevance"


def test_what_has_no_default_must_be_there_for_all() -> None:
    assert problem("quality", {"quality": 1.0}, {}) == (
        "candidates[1].scores.quality",
        "is missing, but the test needs it and the model has no default for it",
    )
    assert problem("price", {"price": 1.0}, {}, spec=BARE)[0] == "candidates[1].price"
    assert problem("price", {}, {}, spec=BARE) == (
        "here",
        "no candidate has a price, which the test needs; the scores in the request are: none",
    )


def test_a_formula_that_is_no_arithmetic_is_refused_at_its_field() -> None:
    field, text = problem("ctr if ctr else 0", {"ctr": 0.5})
    assert field == "here"
    assert "may only use names" in text


@pytest.mark.parametrize("bad", [-0.01, 1.01])
def test_the_strict_reader_refuses_probabilities_outside_0_to_1_and_the_lenient_one_trusts_them(bad: float) -> None:
    made = candidates({"ctr": 0.5}, {}, {"ctr": bad})
    with pytest.raises(FeatureError, match=rf"candidates\[2\].scores.ctr: must be a probability in 0..1, not {bad:g}"):
        ScoreTable(made, WEIGHTS, SPEC)
    table = ScoreTable(made, WEIGHTS, SPEC, lenient=True)
    assert table.score("ctr", "", needed_by="").tolist() == [0.5, 0.05, bad]


def fill(
    made: Sequence[Candidate], *formulas: str, shape: tuple[int, int] = (3, 2), lenient: bool = False, **options: Any
) -> tuple[list[int], list[int]]:
    table = ScoreTable(made, WEIGHTS, SPEC, lenient=lenient)
    slots = fill_slots(table, [QueueSpec(f"q{i}", f) for i, f in enumerate(formulas)], "bfs", shape, **options)
    return slots.candidates.tolist(), slots.queues.tolist()


def test_queues_lie_behind_each_other_and_those_not_asked_for_are_empty() -> None:
    made = candidates({"ctr": 0.1, "price": 3.0}, {"ctr": 0.2, "price": 2.0}, {"ctr": 0.3, "price": 1.0})
    assert fill(made, "ctr", "price") == ([2, 1, 0, -1, -1, -1], [0, 0, 1, 1, 2, 2])
    table = ScoreTable(made, WEIGHTS, SPEC)
    full = fill_slots(table, [QueueSpec("a", "ctr"), QueueSpec("b", "price")], "dfs", (3, 2)).filled()
    assert (full.candidates.tolist(), full.queues.tolist(), len(full)) == ([2, 1, 0], [0, 0, 1], 3)


@pytest.mark.parametrize(("requested", "field"), [(True, "queues[1].score"), (False, "candidates")])
def test_a_queue_value_that_is_not_finite_is_refused_by_the_strict_reader(requested: bool, field: str) -> None:
    made = candidates({"ctr": 0.1, "relevance": 1.0}, {"ctr": 0.2, "relevance": 0.0})
    with pytest.raises(FeatureError) as caught:
        fill(made, "ctr", "1/relevance", requested=requested)
    assert caught.value.path == field
    assert caught.value.problem == "queue 'q1' (1/relevance) gives inf for candidates[1]"
    assert fill(made, "ctr", "1/relevance", lenient=True)[0] == [1, -1, 0, -1, -1, -1]


def test_the_sorts_list_is_empty_if_its_formula_cannot_be_computed() -> None:
    made = candidates({"ctr": 0.1}, {"ctr": 0.3}, {"ctr": 0.2})
    table = ScoreTable(made, WEIGHTS, SPEC)
    assert sort_slots(table, "ctr", np.array([2, -1, 0, 1]), 4).tolist() == [3, 0, 2, -1]
    assert sort_slots(table, "quality", np.array([2, -1, 0, 1]), 4).tolist() == [-1] * 4
    assert table.sort_scores("relevance") is None
    assert ScoreTable(made, WEIGHTS, replace(SPEC, price=None)).sort_scores("price") is None
