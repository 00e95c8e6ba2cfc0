"""Lambdarank learns the order of items from clicks, takes positions out, and gives probabilities."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.baselines.scorers.lambdarank import LambdarankModel, fit_lambdarank
from models.data.batches import ListArrays, encode_lists
from models.data.records import Candidate, ListRecord
from tests.models.baselines.scorers.logs import logged
from tests.models.specs import fit_spec

QUALITIES = np.linspace(0.15, 0.85, 8)


def request() -> ListRecord:
    candidates = (Candidate(f"q{i}", features={"quality": q}) for i, q in enumerate(QUALITIES.tolist()))
    return ListRecord("r", tuple(candidates), (), ())


def arrays(records: list[ListRecord], held_out: int) -> tuple[ListArrays, ListArrays]:
    spec = fit_spec(records)
    return encode_lists(records[held_out:], spec, 5), encode_lists(records[:held_out], spec, 5)


@pytest.fixture(scope="module")
def model() -> LambdarankModel:
    records = logged(3000)
    return fit_lambdarank(*arrays(records, 500), fit_spec(records), seed=0)


def test_scores_are_probabilities_in_the_order_of_quality_although_the_log_hid_it_below(model: LambdarankModel) -> None:
    (scores,) = model.request_scores([request()])
    assert set(scores) == {"ctr"}
    assert (np.diff(scores["ctr"][::2]) > 0).all()
    np.testing.assert_allclose(scores["ctr"], QUALITIES, atol=0.2)


def test_a_file_gives_the_same_scores_and_the_seed_decides(model: LambdarankModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    (scores,), (again,) = (m.request_scores([request()]) for m in (model, LambdarankModel.load(tmp_path, model.spec)))
    np.testing.assert_array_equal(again["ctr"], scores["ctr"])
    records = logged(3000)
    same = fit_lambdarank(*arrays(records, 500), fit_spec(records), seed=0)
    np.testing.assert_array_equal(same.request_scores([request()])[0]["ctr"], scores["ctr"])


def test_lists_without_a_click_beside_an_item_without_one_are_refused() -> None:
    records = logged(200)
    spec = fit_spec(records)
    train, held_out = arrays(records, 50)
    alike = [dataclasses.replace(r, clicks=(1, 1, 1, 1)) for r in records]
    with pytest.raises(ValueError, match="no held-out list"):
        fit_lambdarank(train, encode_lists(alike, spec, 5), spec, seed=0)
    with pytest.raises(ValueError, match="no training list"):
        fit_lambdarank(encode_lists(alike, spec, 5), held_out, spec, seed=0)
