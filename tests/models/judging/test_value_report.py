"""The figures of a value model, and the units, on models and lists whose figures are known."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.batches import Batch, encode_lists
from models.data.records import Candidate, ListRecord
from models.judging.value_report import mean_per_slot, predict, value_report
from models.nets.value import HeadKind, ListValueModel, ValueConfig
from tests.models.specs import fit_spec
from tests.models.training.records import make_record, make_records

CPU = torch.device("cpu")
CONFIG = ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4)


class Oracle(ListValueModel):
    """Knows the labels.

    With hazards an event is certain or out of the question in every state; of the papers' head threshold i at position
    j is certain exactly when it is passed.
    """

    def forward(self, batch: Batch) -> Tensor:
        labels = batch["labels"][:, :, :2]
        if self.config.head == "hazard":
            return torch.where(labels > 0, 30.0, -30.0)[..., None].expand(-1, -1, -1, self.config.states)
        thresholds = torch.arange(1, labels.shape[1] + 1)
        return torch.where(labels.cumsum(1)[..., None] >= thresholds, 30.0, -30.0)


def oracle(records: list[ListRecord], head: HeadKind = "hazard") -> Oracle:
    return Oracle(fit_spec(records), replace(CONFIG, head=head))


@pytest.mark.parametrize("head", ["hazard", "independent"])
def test_a_model_that_knows_the_outcome_gets_perfect_figures(head: HeadKind) -> None:
    records = make_records(60)
    model = oracle(records, head)
    report = value_report(model, encode_lists(records, model.spec, 4), CPU)
    for name in ("click", "conversion", "gmv"):
        row = report[name]["list"]
        assert row["lists"] == 60
        assert row["r_auc"] == 1.0
        assert row["pcoc"] == pytest.approx(1.0)
        assert row["rmse"] == pytest.approx(0.0, abs=1e-3)
        assert [r["length"] for r in report[name]["prefix"]] == [1, 2, 3, 4]
    assert [row["auc"] for row in report["click"]["prefix"]] == [1.0] * 4
    assert "auc" not in report["gmv"]["prefix"][0]
    assert report["click"]["negative_increments"] == 0


def test_the_auc_of_a_place_is_of_what_happened_there_by_what_was_expected_there() -> None:
    """Clicks before a place tell nothing about it: an oracle of one place alone is blind to the others."""
    records = make_records(60)
    model = oracle(records)
    data = encode_lists(records, model.spec, 4)
    known = dataclasses.replace(data, labels=np.where(np.arange(4)[:, None] == 2, data.labels, 0))
    outcomes = predict(model, known, CPU)
    blind = Fixed(model, outcomes)
    auc = [row["auc"] for row in value_report(blind, data, CPU)["click"]["prefix"]]
    assert auc[:3] == [0.5, 0.5, 1.0]
    assert auc[3] == pytest.approx(0.5, abs=0.05)  # differences of sums: what is equal is so up to rounding


def test_a_place_where_always_the_same_happens_has_no_auc() -> None:
    records = [dataclasses.replace(r, clicks=(1, 0, *r.clicks[2:])) for r in make_records(30)]
    model = oracle(records)
    rows = value_report(model, encode_lists(records, model.spec, 4), CPU)["click"]["prefix"]
    assert [row["auc"] for row in rows] == [None, None, 1.0, 1.0]


class Fixed(Oracle):
    """Expects given cumulative outcomes [n, L, 3] of the n lists that it is asked about, all at once."""

    def __init__(self, model: Oracle, outcomes: NDArray[np.floating]) -> None:
        super().__init__(model.spec, model.config)
        self.outcomes = torch.from_numpy(outcomes)

    def increments(self, batch: Batch) -> Tensor:
        assert len(batch["labels"]) == len(self.outcomes)
        return self.outcomes.diff(dim=1, prepend=torch.zeros_like(self.outcomes[:, :1]))


class Falling(ListValueModel):
    """Expects 1 event from the first item, and a little less from every longer list of at most three."""

    def forward(self, batch: Batch) -> Tensor:
        logits = torch.full((len(batch["labels"]), 4, 2, 4), -30.0)
        logits[:, :, :, 0] = torch.tensor([3.0, 2.0, 1.0, 5.0])[:, None]
        return logits


def test_increments_below_nothing_are_counted_among_exposed_items_only() -> None:
    records = [make_record(0, shown=4), make_record(1, shown=1)]
    model = Falling(fit_spec(records), replace(CONFIG, head="independent"))
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
    outcomes = predict(model, data, CPU)
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
