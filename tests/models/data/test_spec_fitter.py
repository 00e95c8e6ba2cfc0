"""A feature spec fitted window by window: as from records, with choices about fields, and at any size."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.scalars import Scalar
from models.contract.spec import Category, FeatureSpec, Hashed, Number
from models.data import fit_spec
from models.data.field_choices import FieldChoices, FieldKind
from models.data.fit_spec import SpecFitter
from models.data.fitting import field_values
from models.data.fitting.field_values import FieldValues
from models.data.fitting.number_values import NumberValues
from models.data.list_file import ListFile
from models.data.list_writer import write_lists
from models.data.records import ListRecord
from tests.models.specs import fit_spec as spec_of
from tests.models.training.records import make_records


def fitted(path: Path, choices: FieldChoices | None = None, size: int = 7) -> FeatureSpec:
    """Fit to all windows of a file."""
    fitter = SpecFitter(choices)
    for window in ListFile(path).windows(size=size):
        fitter.add(window)
    return fitter.fit()


def written(folder: Path, records: list[ListRecord]) -> Path:
    path = folder / "lists.parquet"
    write_lists(path, records, {})
    return path


def choosing(**kinds: FieldKind) -> FieldChoices:
    return FieldChoices({name.replace("__", "."): kind for name, kind in kinds.items()}, min_count=1)


def test_windows_give_the_spec_of_their_records(tmp_path: Path) -> None:
    records = [dataclasses.replace(r, exposed=r.exposed[: i % 5]) for i, r in enumerate(make_records(60))]
    records = [dataclasses.replace(r, clicks=r.clicks[: len(r.exposed)], purchases=None, gmv=None) for r in records]
    path = written(tmp_path, records)
    expected = spec_of(records).fingerprint
    assert [fitted(path, size=size).fingerprint for size in (1, 7, 1000)] == [expected] * 3


def test_a_field_is_read_as_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, make_records(20))
    spec = fitted(
        path, choosing(stars="category", item__category="hash", user__age="hash", hour="ignore", new="number")
    )
    kinds = {f.name: type(f) for f in (*spec.user, *spec.context, *spec.item)}
    assert kinds == {"plan": Category, "age": Hashed, "stars": Category, "category": Hashed, "new": Number}
    stars = next(f for f in spec.item if f.name == "stars")
    assert stars == Category("stars", ("0", "1", "2", "3", "4"))  # 3.0 in the file is 3 in a request


def test_a_choice_with_its_group_goes_before_one_for_all_groups(tmp_path: Path) -> None:
    spec = fitted(written(tmp_path, make_records(20)), choosing(age="ignore", user__age="hash"))
    assert Hashed in map(type, spec.user)


def test_scores_and_the_price_can_be_ignored_but_are_no_categories(tmp_path: Path) -> None:
    path = written(tmp_path, make_records(20))
    spec = fitted(path, choosing(scores__cvr="ignore", price="ignore"))
    assert [f.name for f in spec.scores] == ["ctr"]
    assert spec.price is None
    with pytest.raises(ValueError, match=r"scores\.ctr: is a prior score"):
        fitted(path, choosing(ctr="category"))


@pytest.mark.parametrize("choice", ["colour", "user.stars", "item.age"])
def test_a_choice_that_names_no_field_is_refused(tmp_path: Path, choice: str) -> None:
    with pytest.raises(ValueError, match=rf"field {choice}: there is none of that name; .* user\.age"):
        fitted(written(tmp_path, make_records(5)), FieldChoices({choice: "ignore"}))


def test_text_is_no_number_though_it_looks_like_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"user\.plan: is to be read as a number, but holds the text 'free'"):
        fitted(written(tmp_path, make_records(5)), choosing(plan="number"))


def test_a_chosen_category_keeps_its_most_frequent_values() -> None:
    values = FieldValues("item.x", "category", FieldChoices(max_vocabulary=2, min_count=2))
    values.add(pa.array([1, 2, 2, 3, 3, 3, 4, 4]))
    values.add(pa.array([2.0, 5.0]))
    assert values.field("x") == Category("x", ("2", "3"))


def test_more_values_than_can_be_counted_are_hashed_without_being_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    values = FieldValues("item.x", None, FieldChoices(max_vocabulary=4, hash_buckets=16))
    for start in range(0, 100, 10):
        values.add(pa.array([f"v{i}" for i in range(start, start + 10)]))
    assert values.field("x") == Hashed("x", 16)
    monkeypatch.setattr(field_values, "MOST_COUNTED", 50)
    chosen = FieldValues("item.x", "category", FieldChoices())
    with pytest.raises(ValueError, match=r"item\.x: has over 50 values"):
        chosen.add(pa.array(range(51)))


def test_a_field_of_two_kinds_is_refused_unless_its_kind_is_chosen() -> None:
    values, chosen = (FieldValues("item.x", kind, FieldChoices()) for kind in (None, "category"))
    for part in (pa.array([1, 1]), pa.array(["1", "b"])):
        chosen.add(part)
    assert chosen.field("x") == Category("x", ("1",))
    values.add(pa.array(["a"]))
    with pytest.raises(ValueError, match=r"item\.x: holds numbers in some lists and text in others"):
        values.add(pa.array([1]))


def numbers(values: Any, *cuts: int, folds_after: int | None = None) -> NumberValues:
    """Gather numbers in parts, folded from one of them on."""
    found = NumberValues("item.x")
    for i, part in enumerate(np.split(np.asarray(values, np.float64), cuts)):
        if i == folds_after:
            found.fold()
        if len(part):
            found.add(part)
    return found


SHAPES = st.sampled_from(["normal", "lognormal", "uniform", "constant"])


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, count=st.integers(1, 400), cuts=st.lists(st.integers(1, 399), max_size=4), after=st.integers(0, 3))
def test_folded_numbers_are_fitted_like_held_ones(shape: str, count: int, cuts: list[int], after: int) -> None:
    rng = np.random.default_rng(count)
    drawn = {
        "normal": rng.normal(5, 2, count), "lognormal": rng.lognormal(0, 2, count),
        "uniform": rng.uniform(0, 1, count), "constant": np.full(count, 7.1),
    }  # fmt: skip
    values, small = drawn[shape], 16
    cuts = sorted(cuts)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("models.data.fitting.moments", "models.data.fitting.number_values"):
            patch.setattr(f"{module}.BLOCK", small)
        folded = numbers(values, *cuts, folds_after=min(after, len(cuts)))
        expected = numbers(values)
        for found, known in ((folded.number("x"), expected.number("x")), (folded.score("x"), expected.score("x"))):
            assert (found.transform, found.default) == (known.transform, known.default)
            assert (found.mean, found.std) == pytest.approx((known.mean, known.std), rel=1e-9, abs=1e-12)
        parts = numbers(values, folds_after=0)
        assert parts.number("x") == numbers(values, *cuts, folds_after=0).number("x")  # whatever the windows


def test_a_median_of_more_numbers_than_are_sampled_is_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.data.fitting.number_values.SAMPLE", 2000)
    values = np.tile(np.arange(10.0), 100_000) + np.random.default_rng(0).uniform(0, 1, 1_000_000)
    found = numbers(values, 300_000, folds_after=1).number("x")
    assert found.default == pytest.approx(np.median(values), abs=0.3)
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)


def test_numbers_are_folded_once_all_fields_together_hold_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, make_records(80))
    held = fitted(path)
    monkeypatch.setattr(fit_spec, "MOST_HELD", 100)
    monkeypatch.setattr("models.data.fitting.number_values.BLOCK", 16)
    folded = fitted(path)
    assert folded.fingerprint == fitted(path, size=11).fingerprint
    for group in ("user", "context", "item", "scores"):
        for one, other in zip(getattr(held, group), getattr(folded, group), strict=True):
            assert (type(one), one.name) == (type(other), other.name)
            if isinstance(one, Number):
                assert (one.mean, one.std) == pytest.approx((other.mean, other.std), rel=1e-9)
                assert one.default == other.default


@pytest.mark.parametrize("most", [100, 1 << 20])
@pytest.mark.parametrize("size", [7, 30])
def test_fitters_of_parts_join_to_the_spec_of_all(
    tmp_path: Path, size: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, choices = written(tmp_path, make_records(80)), FieldChoices({"age": "hash", "hour": "ignore"})
    monkeypatch.setattr(fit_spec, "MOST_HELD", most)
    monkeypatch.setattr("models.data.fitting.number_values.BLOCK", 16)
    joint = SpecFitter(choices)
    for window in ListFile(path).windows(size=size):
        part = SpecFitter(choices, folds=False)
        part.add(window)
        joint.extend(part)
    assert joint.fit().fingerprint == fitted(path, choices).fingerprint


def test_values_of_parts_are_too_many_or_of_two_kinds_only_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def values(array: pa.Array, kind: FieldKind | None = None) -> FieldValues:
        found = FieldValues("item.x", kind, FieldChoices(max_vocabulary=4, hash_buckets=16))
        found.add(array)
        return found

    joint = values(pa.array([f"v{i}" for i in range(10)]))
    joint.extend(values(pa.array([f"w{i}" for i in range(10)])))
    joint.extend(values(pa.array(["v1"])))
    assert joint.field("x") == Hashed("x", 16)
    with pytest.raises(ValueError, match=r"item\.x: holds numbers in some lists and text in others"):
        joint.extend(values(pa.array([1.0])))
    monkeypatch.setattr(field_values, "MOST_COUNTED", 15)
    chosen = values(pa.array(range(10)), "category")
    with pytest.raises(ValueError, match=r"item\.x: has over 15 values"):
        chosen.extend(values(pa.array(range(10, 20)), "category"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused_by_name(value: Scalar) -> None:
    with pytest.raises(ValueError, match=r"item\.x: holds (nan|inf), not a finite number"):
        FieldValues("item.x", None, FieldChoices()).add(pa.array([1.0, value]))
