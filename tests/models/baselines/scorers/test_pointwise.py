"""The pointwise model: it learns items, not neighbours, and takes positions out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.baselines.scorers.pointwise import fit_pointwise
from models.contract.scalars import FeatureError
from models.data.fit_spec import fit_spec
from models.data.records import Candidate, ListRecord
from tests.models.training.records import make_records


def logged(count: int, *, seed: int = 0) -> list[ListRecord]:
    """P(click) = quality · 0.6^position, better items mostly shown lower; P(purchase | click) = 1 − quality."""
    rng = np.random.default_rng(seed)
    records = []
    for index in range(count):
        quality = rng.uniform(0.1, 0.9, 4)
        order = np.argsort(quality + rng.normal(0, 0.3, 4))
        click = (rng.random(4) < quality[order] * 0.6 ** np.arange(4)).astype(int)
        buy = click * (rng.random(4) < 1 - quality[order])
        candidates = tuple(Candidate(f"i{i}", features={"quality": float(q)}) for i, q in enumerate(quality))
        labels = tuple(click.tolist()), tuple(buy.tolist())
        records.append(ListRecord(f"r{index}", candidates, tuple(order.tolist()), *labels))
    return records


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
