"""The figures of a value model, and the units, on models and lists whose figures are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from models.batches import encode_lists
from models.fit import fit_spec
from models.inputs import Batch
from models.lists import Candidate, ListRecord
from models.value import ListValueModel, ValueConfig
from models.value_report import mean_per_slot, predict, value_report
from tests.train.records import make_record, make_records

CPU = torch.device("cpu")


class Oracle(ListValueModel):
    """Knows the labels: threshold i at position j is certain exactly when it is passed."""

    def forward(self, batch: Batch) -> Tensor:
        counts = batch["labels"][:, :, :2].cumsum(1)
        thresholds = torch.arange(1, counts.shape[1] + 1)
        return torch.where(counts[..., None] >= thresholds, 30.0, -30.0)


def oracle(records: list[ListRecord]) -> Oracle:
    return Oracle(fit_spec(records), ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4))


def test_a_model_that_knows_the_outcome_gets_perfect_figures() -> None:
    records = make_records(60)
    model = oracle(records)
    report = value_report(model, encode_lists(records, model.spec, 4), CPU)
    for name in ("click", "conversion", "gmv"):
        row = report[name]["list"]
        assert row["lists"] == 60
        assert row["r_auc"] == 1.0
        assert row["pcoc"] == pytest.approx(1.0)
        assert row["rmse"] == pytest.approx(0.0, abs=1e-3)
        assert [r["length"] for r in report[name]["prefix"]] == [1, 2, 3, 4]
    assert report["click"]["prefix"][2]["auc"][:2] == [1.0, 1.0]
    assert len(report["click"]["prefix"][2]["auc"]) == 3
    assert "auc" not in report["gmv"]["prefix"][0]


class Falling(ListValueModel):
    """Expects 1 event from the first item, and a little less from every longer list of at most three."""

    def forward(self, batch: Batch) -> Tensor:
        logits = torch.full((len(batch["labels"]), 4, 2, 4), -30.0)
        logits[:, :, :, 0] = torch.tensor([3.0, 2.0, 1.0, 5.0])[:, None]
        return logits


def test_increments_below_nothing_are_counted_among_exposed_items_only() -> None:
    records = [make_record(0, shown=4), make_record(1, shown=1)]
    model = Falling(fit_spec(records), ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4))
    report = value_report(model, encode_lists(records, model.spec, 4), CPU)
    assert report["click"]["negative_increments"] == pytest.approx(2 / 5)


def test_short_lists_count_at_their_own_length_only() -> None:
    records = [make_record(i, shown=2 if i % 3 else 4) for i in range(30)]
    model = oracle(records)
    report = value_report(model, encode_lists(records, model.spec, 4), CPU)
    assert [row["lists"] for row in report["click"]["prefix"]] == [30, 30, 10, 10]
    assert report["click"]["list"]["pcoc"] == pytest.approx(1.0)


def test_an_objective_that_is_not_recorded_has_no_figures() -> None:
    records = [dataclasses.replace(r, purchases=None, gmv=None) for r in make_records(10)]
    model = oracle(records)
    report = value_report(model, encode_lists(records, model.spec, 4), CPU)
    assert report["conversion"] is None
    assert report["gmv"] is None
    assert report["click"]["list"]["lists"] == 10


def test_cumulative_gmv_is_price_times_conversions() -> None:
    records = make_records(10)
    model = oracle(records)
    data = encode_lists(records, model.spec, 4)
    _, outcomes = predict(model, data, CPU)
    np.testing.assert_allclose(outcomes[:, :, 2], np.cumsum(data.labels[:, :, 2], axis=1), rtol=1e-4, atol=1e-3)


def test_predicting_keeps_the_models_mode() -> None:
    records = make_records(4)
    model = oracle(records).train()
    predict(model, encode_lists(records, model.spec, 4), CPU)
    assert model.training


def record(clicks: tuple[int, ...], purchases: tuple[int, ...] | None, gmv: tuple[float, ...] | None) -> ListRecord:
    candidates = tuple(Candidate(f"i{i}", price=5.0) for i in range(len(clicks)))
    return ListRecord("r", candidates, tuple(range(len(clicks))), clicks, purchases, gmv)


def test_units_are_means_over_exposed_slots_where_the_log_records_them() -> None:
    records = [
        record((1, 0), (1, 0), (8.0, 0.0)),
        record((1, 1, 0), None, None),
        record((1, 0, 0, 0, 1), (0,) * 5, None),
    ]
    units, without = mean_per_slot(encode_lists(records, fit_spec(records), 4))
    # The fifth position of the last list lies past the horizon.
    assert units == {"click": pytest.approx(4 / 9), "conversion": pytest.approx(1 / 6), "gmv": pytest.approx(8 / 2)}
    assert without == []


def test_an_objective_without_events_has_unit_one_and_is_named() -> None:
    records = [record((1, 0), (0, 0), None)]
    units, without = mean_per_slot(encode_lists(records, fit_spec(records), 4))
    assert (units["conversion"], units["gmv"]) == (1.0, 1.0)
    assert without == ["conversion", "gmv"]
