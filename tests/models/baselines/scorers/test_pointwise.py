"""The pointwise model: it learns items, not neighbours, and takes positions out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.baselines.scorers.pointwise import PointwiseModel, fit_pointwise, fit_pointwise_arrays
from models.contract.scalars import FeatureError
from models.data.batches import encode_lists
from models.data.records import Candidate
from tests.models.baselines.scorers.logs import logged
from tests.models.specs import fit_spec
from tests.models.training.records import make_records


def grid() -> tuple[Candidate, ...]:
    return tuple(Candidate(f"q{i}", features={"quality": q}) for i, q in enumerate(np.linspace(0.15, 0.85, 8).tolist()))


def test_scores_follow_quality_at_the_top_position_although_the_log_hid_it_below() -> None:
    records = logged(4000)
    model = fit_pointwise(records, fit_spec(records), seed=0)
    scores = model.scores({}, {}, grid())
    quality = np.linspace(0.15, 0.85, 8)
    np.testing.assert_allclose(scores["ctr"], quality, atol=0.12)
    assert (np.diff(scores["ctr"][::2]) > 0).all()
    assert np.corrcoef(scores["cvr"], 1 - quality)[0, 1] > 0.9


def test_the_seed_decides_and_neighbours_do_not_matter() -> None:
    records = logged(800)
    spec = fit_spec(records)
    one, again = (fit_pointwise(records, spec, seed=1).scores({}, {}, grid())["ctr"] for _ in range(2))
    np.testing.assert_array_equal(one, again)
    model = fit_pointwise(records, spec, seed=1)
    alone = [model.scores({}, {}, [c])["ctr"][0] for c in grid()]
    np.testing.assert_allclose(alone, one)


def test_every_group_of_features_is_used() -> None:
    records = make_records(300)
    model = fit_pointwise(records, fit_spec(records), seed=0)
    first = records[0]
    scores = model.scores(first.user, first.context, first.candidates)
    ctr = np.array([c.scores["ctr"] for c in first.candidates])
    assert set(scores) == {"ctr", "cvr"}
    assert np.corrcoef(scores["ctr"], ctr)[0, 1] > 0.5


def test_a_log_without_purchases_gives_no_conversion_score() -> None:
    records = [dataclasses.replace(r, purchases=None) for r in logged(400)]
    model = fit_pointwise(records, fit_spec(records), seed=0)
    assert set(model.scores({}, {}, grid())) == {"ctr"}


def test_a_log_without_clicks_is_refused() -> None:
    records = [dataclasses.replace(r, clicks=(0, 0, 0, 0)) for r in logged(50)]
    with pytest.raises(ValueError, match="needs clicks"):
        fit_pointwise(records, fit_spec(records), seed=0)


def test_a_value_that_cannot_be_encoded_is_named() -> None:
    records = logged(200)
    model = fit_pointwise(records, fit_spec(records), seed=0)
    with pytest.raises(FeatureError, match=r"candidates\[0\]\.features\.quality"):
        model.scores({}, {}, [Candidate("a", features={"quality": "high"})])


def test_arrays_of_lists_are_learnt_from_as_records_are() -> None:
    records = logged(900)
    spec = fit_spec(records)
    train, held_out = (encode_lists(part, spec, 4) for part in (records[:800], records[800:]))
    model = fit_pointwise_arrays(train, held_out, spec, seed=1)
    ctr = model.scores({}, {}, grid())["ctr"]
    assert np.corrcoef(ctr, np.linspace(0.15, 0.85, 8))[0, 1] > 0.9
    padded = fit_pointwise_arrays(encode_lists(records[:800], spec, 6), held_out, spec, seed=1)
    np.testing.assert_array_equal(padded.scores({}, {}, grid())["ctr"], ctr)


def test_held_out_lists_without_a_click_are_refused() -> None:
    records = logged(400)
    spec = fit_spec(records)
    still = [dataclasses.replace(r, clicks=(0, 0, 0, 0)) for r in logged(50)]
    with pytest.raises(ValueError, match="needs clicks"):
        fit_pointwise_arrays(encode_lists(records, spec, 4), encode_lists(still, spec, 4), spec, seed=0)


def test_many_requests_at_once_have_the_scores_of_each_alone_and_a_file_gives_them_again(tmp_path: Path) -> None:
    records = make_records(300)
    spec = fit_spec(records)
    model = fit_pointwise(records, spec, seed=0)
    some = [dataclasses.replace(r, candidates=r.candidates[: 2 + i % 3]) for i, r in enumerate(records[:7])]
    together = model.request_scores(some)
    for record, scores in zip(some, together, strict=True):
        alone = model.scores(record.user, record.context, record.candidates)
        assert scores.keys() == alone.keys() == {"ctr", "cvr"}
        for name, values in alone.items():
            np.testing.assert_array_equal(scores[name], values)
    model.save(tmp_path)
    again = PointwiseModel.load(tmp_path, spec).request_scores(some)
    np.testing.assert_array_equal([s["cvr"][0] for s in again], [s["cvr"][0] for s in together])


def test_a_model_without_conversions_is_read_as_one_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    records = [dataclasses.replace(r, purchases=None) for r in logged(400)]
    fit_pointwise(records, fit_spec(records), seed=0).save(tmp_path)
    assert PointwiseModel.load(tmp_path, fit_spec(records)).conversion is None
    (tmp_path / "click.txt").write_text("nothing", "utf-8")
    with pytest.raises(ValueError, match=r"click\.txt"):
        PointwiseModel.load(tmp_path, fit_spec(records))
