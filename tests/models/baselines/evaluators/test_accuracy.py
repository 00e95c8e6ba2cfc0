"""Table 3's form: the figures of evaluators whose errors are known, and their intervals."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from models.data.batches import Batch, encode_lists
from models.data.records import ListRecord
from models.data.slates import encode_slates
from models.evaluation.degre.value_accuracy import Estimates, accuracy_table, evaluator_accuracy, statistics
from models.judging import metrics
from models.judging.value_report import value_report
from models.nets.value import HeadKind, ValueConfig
from models.planners.search.prefix import list_outcomes
from tests.models.planners.examples import random_model
from tests.models.planners.plain import shaken
from tests.models.specs import fit_spec
from tests.models.tables import compact
from tests.models.training.records import make_record, make_records


class Clairvoyant:
    """Knows the clicks of the exposed list and scales them."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def outcomes(self, batch: Batch, lists: Tensor) -> Tensor:
        assert torch.equal(lists[:, 0], batch["exposed"])
        return self.factor * batch["labels"].cumsum(dim=1)[:, None]


class Constant:
    """Expects 1 click of the first item, less of two items and 2 clicks of more."""

    def outcomes(self, batch: Batch, lists: Tensor) -> Tensor:
        assert batch["valid"].any()
        along = torch.tensor([1.0, 0.5, 2.0, 2.0])[: lists.shape[2]]
        ended = along[(lists >= 0).sum(dim=2, keepdim=True) - 1]
        return torch.where(lists >= 0, along, ended)[..., None].expand(*lists.shape, 3)


def estimates(predicted: list[float], clicks: list[int]) -> Estimates:
    ones = np.ones(len(clicks), np.int64)
    return Estimates(np.array(predicted), np.array(clicks, np.float64), 0 * ones, ones)


lists_of_clicks = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=30)


@given(lists_of_clicks)
def test_with_equal_weights_the_measures_are_those_of_the_metrics_module(pairs: list[tuple[int, int]]) -> None:
    predicted, clicks = ([float(p) / 2 for p, _ in pairs], [c for _, c in pairs])
    ours = statistics(estimates(predicted, clicks))
    ones = np.ones(len(pairs), np.int64)
    p, c = np.array(predicted), np.array(clicks, np.float64)
    for name, expected in (("r_auc", metrics.r_auc(p, c)), ("pcoc", metrics.pcoc(p, c)), ("rmse", metrics.rmse(p, c))):
        found = ours[name](ones)
        assert np.isnan(found) if expected is None else found == pytest.approx(expected)


@given(lists_of_clicks, st.data())
def test_weights_count_lists_as_often_as_copies_would(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs))))
    copies: NDArray[np.int64] = np.repeat(np.arange(len(pairs)), weights)
    if not len(copies):
        return
    p, c = np.array([float(p) for p, _ in pairs]), np.array([c for _, c in pairs], np.float64)
    expected = metrics.r_auc(p[copies], c[copies])
    found = statistics(estimates(p.tolist(), c.astype(int).tolist()))["r_auc"](weights)
    assert np.isnan(found) if expected is None else found == pytest.approx(expected)


def shown(count: int) -> list[ListRecord]:
    return [make_record(i, shown=1 + i % 4) for i in range(count)]


def test_evaluators_of_known_error_get_their_figures() -> None:
    records = shown(80)
    spec = fit_spec(records)
    test = encode_slates(records, spec, 4)
    found = evaluator_accuracy(
        {"exact": Clairvoyant().outcomes, "half": Clairvoyant(0.5).outcomes, "flat": Constant().outcomes}, test, 0
    )
    exact, half, flat = found["rows"]
    assert [row["evaluator"] for row in found["rows"]] == ["exact", "half", "flat"]
    assert found["lists"] == 80
    assert exact["r_auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert exact["pcoc"]["value"] == 1.0
    assert exact["rmse"]["value"] == 0.0
    assert half["r_auc"]["value"] == 1.0
    assert half["pcoc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert half["rmse"]["low"] < half["rmse"]["value"] < half["rmse"]["high"]
    # Lists of 1, 2, 3 and 4 items in turn: 60 of 200 items are the second of their list.
    assert flat["negative_increments"]["value"] == pytest.approx(60 / 200)
    clicks = np.array([sum(r.clicks) for r in records])
    worth = np.array([1.0, 0.5, 2.0, 2.0])[np.arange(80) % 4]
    assert flat["rmse"]["value"] == pytest.approx(np.sqrt(np.mean((worth - clicks) ** 2)))


@pytest.mark.parametrize("head", ["independent", "hazard"])
def test_a_list_value_model_gets_the_figures_of_its_own_report(head: HeadKind) -> None:
    records = shown(60)
    spec = fit_spec(records)
    config = ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4, input_block="fields", head=head)
    model = shaken(random_model(spec, config, seed=0), seed=0)
    test = encode_slates(records, spec, 4)
    report = value_report(model, encode_lists(records, spec, 4), torch.device("cpu"))["click"]
    (row,) = evaluator_accuracy({head: partial(list_outcomes, model)}, test, 0, draws=20)["rows"]
    for name in ("r_auc", "pcoc", "rmse"):
        assert row[name]["value"] == pytest.approx(report["list"][name], rel=1e-5)
    assert row["negative_increments"]["value"] == pytest.approx(report["negative_increments"])
    assert head == "independent" or row["negative_increments"]["value"] == 0.0


def test_the_rows_are_plain_json_and_make_a_table() -> None:
    records = make_records(30)
    found = evaluator_accuracy(
        {"exact": Clairvoyant().outcomes}, encode_slates(records, fit_spec(records), 4), 0, draws=50
    )
    table = compact(accuracy_table(json.loads(json.dumps(found))["rows"]))
    header, _, row = table.splitlines()
    assert header.startswith("| evaluator | R-AUC")
    assert row.startswith("| exact | 1.0000 (1.0000 to 1.0000) | 1.0000 (1.0000 to 1.0000) | 0.0000")


def test_what_the_lists_do_not_define_is_none_and_said_so() -> None:
    records = [dataclasses.replace(r, clicks=(0,) * 4) for r in make_records(5)]
    found = evaluator_accuracy({"flat": Constant().outcomes}, encode_slates(records, fit_spec(records), 4), 0)
    (row,) = found["rows"]
    assert row["r_auc"] is None
    assert row["pcoc"] is None
    assert row["rmse"]["value"] == 2.0
    assert accuracy_table([row]).count("not defined") == 2


def test_lists_that_show_nothing_are_left_out_and_all_of_them_is_an_error() -> None:
    empty = dataclasses.replace(make_record(1), exposed=(), clicks=(), purchases=(), gmv=())
    records = [make_record(0), empty]
    spec = fit_spec(records)
    assert evaluator_accuracy({}, encode_slates(records, spec, 4), 0)["lists"] == 1
    with pytest.raises(ValueError, match="no test lists that show an item"):
        evaluator_accuracy({}, encode_slates([empty], spec, 4), 0)
