"""How a feature spec is fitted to records."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from models.contract.features import Encoder
from models.contract.scalars import Scalar
from models.contract.spec import Category, Field, Hashed, Number
from models.data.field_choices import FieldChoices
from models.data.records import Candidate, ListRecord
from tests.models.specs import fit_spec
from tests.models.training.records import make_records


def one_item_lists(name: str, values: list[Scalar]) -> list[ListRecord]:
    return [
        ListRecord(str(i), (Candidate("a", features={name: v}),), exposed=(0,), clicks=(0,))
        for i, v in enumerate(values)
    ]


def fitted_item(values: list[Scalar], **options: Any) -> Field:
    (field,) = fit_spec(one_item_lists("x", values), FieldChoices(**options)).item
    return field


def test_few_strings_become_a_sorted_vocabulary_of_those_seen_often_enough() -> None:
    assert fitted_item(["b", "a", "b", "a", "rare"], min_count=2) == Category("x", ("a", "b"))


def test_booleans_are_categories_under_their_json_names() -> None:
    assert fitted_item([True, False, True, False]) == Category("x", ("false", "true"))


def test_a_field_with_any_string_is_categorical_and_numbers_in_it_are_read_as_the_encoder_reads_them() -> None:
    assert fitted_item([5, "5", 5.0, "a", "a"]) == Category("x", ("5", "a"))


@pytest.mark.parametrize(
    ("values", "cap", "buckets"), [(5, 1 << 16, 8), (8, 1 << 16, 8), (9, 1 << 16, 16), (100, 32, 32)]
)
def test_many_strings_are_hashed_into_a_power_of_two_of_buckets(values: int, cap: int, buckets: int) -> None:
    field = fitted_item([f"v{i}" for i in range(values)], max_vocabulary=4, hash_buckets=cap)
    assert field == Hashed("x", buckets)


def test_numbers_are_standardised_and_a_missing_one_takes_the_median_in_its_own_unit() -> None:
    field = fitted_item([1, 2, 3, 4, None, 10])
    assert field == Number("x", mean=4.0, std=math.sqrt(10), default=3.0, transform="identity")


def test_a_long_tail_of_non_negative_numbers_is_taken_as_logarithms() -> None:
    tail: list[Scalar] = [float(v) for v in np.random.default_rng(0).lognormal(0, 2, 500)]
    field = fitted_item(tail)
    assert isinstance(field, Number)
    assert field.transform == "log1p"
    assert field.default == pytest.approx(np.median(np.array(tail, float)))
    with_negatives = fitted_item([*tail, -1.0])
    assert isinstance(with_negatives, Number)
    assert with_negatives.transform == "identity"


def test_a_constant_number_keeps_scale_one() -> None:
    field = fitted_item([7.1, 7.1, 7.1])
    assert isinstance(field, Number)
    assert field.std == 1.0


def test_scores_in_the_unit_interval_become_logits_and_others_stay() -> None:
    candidates = tuple(Candidate(f"i{i}", scores={"ctr": p, "margin": 3 * p}) for i, p in enumerate((0.1, 0.5, 0.9)))
    spec = fit_spec([ListRecord("r", candidates, exposed=(0, 1, 2), clicks=(0, 0, 0))])
    assert [(f.name, f.transform) for f in spec.scores] == [("ctr", "logit"), ("margin", "identity")]
    assert spec.scores[0].mean == pytest.approx(0.0)
    assert spec.scores[0].std == pytest.approx(math.sqrt(2 / 3) * math.log(9))


def test_encoded_training_items_have_mean_zero_and_deviation_one() -> None:
    records = make_records(50)
    spec = fit_spec(records)
    shown = [r.candidates[i] for r in records for i in r.exposed]
    encoded = Encoder(spec).encode_items(shown)
    for name in ("item_numbers", "item_scores"):
        values = encoded[name].astype(np.float64)
        np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-5)
        np.testing.assert_allclose(values.std(axis=0), 1.0, atol=1e-5)


def test_the_same_records_give_the_same_fingerprint_whatever_the_order_of_lists_and_keys() -> None:
    records = make_records(20)
    shuffled = [dataclasses.replace(r, user=dict(reversed(list(r.user.items())))) for r in reversed(records)]
    again, mirrored = fit_spec(make_records(20)), fit_spec(shuffled)
    assert again.fingerprint == fit_spec(records).fingerprint
    assert [f.name for f in mirrored.user] == [f.name for f in again.user]
    assert mirrored.item_categoricals == again.item_categoricals


def test_candidates_that_were_not_shown_do_not_count() -> None:
    candidates = (Candidate("a", features={"x": "shown"}), Candidate("b", features={"x": "hidden"}))
    record = ListRecord("r", candidates, exposed=(0,), clicks=(1,))
    assert fit_spec([record, record]).item == (Category("x", ("shown",)),)


def test_fields_that_nobody_has_are_left_out() -> None:
    spec = fit_spec(one_item_lists("x", [None, None]))
    assert (spec.item, spec.scores, spec.price, spec.user, spec.context) == ((), (), None, (), ())


def test_no_lists_and_numbers_that_are_not_finite_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no lists"):
        fit_spec([])
    with pytest.raises(ValueError, match=r"item\.x: holds nan"):
        fit_spec(one_item_lists("x", [1.0, math.nan]))
