"""How records become arrays: against a plain encoder written apart, and at the edges of number formats."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.embeddings import unit_embeddings
from models.contract.features import Encoder, known_priors
from models.contract.scalars import FeatureError, Scalar
from models.contract.spec import Categorical, Category, FeatureSpec, Field, Hashed, Number
from models.data.records import Candidate
from tests.models.contract.strategies import NUMERIC_VALUES, SPECS, tables


def plain_text(value: Scalar) -> str | None:
    """A categorical value as its JSON text would be, whole floats without their point."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value == math.floor(value):
        return json.dumps(math.floor(value))
    return json.dumps(value)


def plain_row(field: Categorical, value: Scalar) -> int:
    """The row within the field's own table."""
    text = plain_text(value)
    if text is None:
        return 0
    if isinstance(field, Category):
        return field.vocabulary.index(text) + 1 if text in field.vocabulary else 0
    return 1 + zlib.crc32(f"{field.name}={text}".encode("utf-8", "surrogatepass")) % field.buckets


def plain_number(field: Number, value: Any) -> float:
    x = field.default if value is None else float(value)
    if field.transform == "log1p":
        x = math.log(1 + x) if x > 0 else 0.0
    elif field.transform == "logit":
        p = min(max(x, 1e-6), 1 - 1e-6)
        x = math.log(p / (1 - p))
    return min(max((x - field.mean) / field.std, -field.clip), field.clip)


def plain_columns(parts: list[tuple[tuple[Field, ...], dict[str, Scalar]]]) -> tuple[list[int], list[float]]:
    """Ids in one shared table and numbers, over several groups of fields, each with its own values."""
    ids, numbers, offset = [], [], 0
    for fields, values in parts:
        for field in fields:
            if isinstance(field, Number):
                numbers.append(plain_number(field, values.get(field.name)))
            else:
                ids.append(offset + plain_row(field, values.get(field.name)))
                offset += field.rows
    return ids, numbers


def assert_numbers(found: Any, expected: Any) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.reshape(np.array(expected, np.float64), found.shape), rtol=1e-5, atol=1e-5)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), spec=SPECS)
def test_users_are_encoded_as_the_plain_encoder_does(data: st.DataObject, spec: FeatureSpec) -> None:
    user, context = data.draw(tables(spec.user)), data.draw(tables(spec.context))
    ids, numbers = plain_columns([(spec.user, user), (spec.context, context)])
    arrays = Encoder(spec).encode_user(user, context)
    assert arrays["user_ids"].dtype == np.int64
    assert arrays["user_ids"].tolist() == ids
    assert_numbers(arrays["user_numbers"], numbers)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), spec=SPECS)
def test_candidates_are_encoded_as_the_plain_encoder_does(data: st.DataObject, spec: FeatureSpec) -> None:
    candidates = [
        Candidate(
            str(i),
            scores=data.draw(st.fixed_dictionaries({}, optional={f.name: NUMERIC_VALUES for f in spec.scores})),
            price=data.draw(st.none() | st.floats(0, 1e6)),
            features=data.draw(tables(spec.item)),
        )
        for i in range(data.draw(st.integers(0, 3)))
    ]
    arrays = Encoder(spec).encode_items(candidates)
    rows = [plain_columns([(spec.item, dict(c.features))]) for c in candidates]
    prices = [] if spec.price is None else [spec.price]
    assert arrays["item_ids"].tolist() == [ids for ids, _ in rows]
    assert_numbers(
        arrays["item_numbers"],
        [[*own, *(plain_number(f, c.price) for f in prices)] for (_, own), c in zip(rows, candidates, strict=True)],
    )
    assert_numbers(
        arrays["item_scores"], [[plain_number(f, c.scores.get(f.name)) for f in spec.scores] for c in candidates]
    )
    default = spec.price.default if spec.price else 0.0
    assert_numbers(arrays["price"], [default if c.price is None else c.price for c in candidates])


def plain_logit(p: float) -> float:
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), names=st.permutations(["ctr", "cvr", "other"]), count=st.integers(0, 3))
def test_priors_are_the_logits_of_ctr_and_of_ctr_times_cvr(data: st.DataObject, names: list[str], count: int) -> None:
    kept = names[:count]
    fields = tuple(Number(name, mean=0.3, std=0.1, default=data.draw(st.floats(0, 1))) for name in kept)
    scores = data.draw(st.fixed_dictionaries({}, optional={name: st.floats(0, 1) for name in names}))
    arrays = Encoder(FeatureSpec(scores=fields)).encode_items([Candidate("a", scores)])
    known = {f.name: scores.get(f.name, f.default) for f in fields}
    expected = [0.0, 0.0]
    if "ctr" in known:
        expected[0] = plain_logit(known["ctr"])
        expected[1] = plain_logit(known["ctr"] * known["cvr"]) if "cvr" in known else 0.0
    assert_numbers(arrays["priors"], [expected])
    assert known_priors(FeatureSpec(scores=fields)) == ("ctr" in known, {"ctr", "cvr"} <= set(known))


@pytest.mark.parametrize(("ctr", "cvr"), [(0, 0), (1, 1), (-2, 0.5), (-2, -2), (1e300, 1e300), (0.5, 1e300), (2, 0.5)])
def test_scores_that_are_no_probabilities_give_finite_priors_within_the_clip(ctr: float, cvr: float) -> None:
    spec = FeatureSpec(scores=(Number("ctr"), Number("cvr")))
    click, buy = Encoder(spec).encode_items([Candidate("a", {"ctr": ctr, "cvr": cvr})])["priors"][0].tolist()
    assert click == pytest.approx(plain_logit(ctr), rel=1e-6)
    assert buy == pytest.approx(plain_logit(min(max(ctr, 0), 1) * min(max(cvr, 0), 1)), rel=1e-6)


def test_priors_do_not_depend_on_how_scores_are_scaled_as_features() -> None:
    scores = {"ctr": 0.2, "cvr": 0.1}
    plain = FeatureSpec(scores=(Number("ctr"), Number("cvr")))
    scaled = FeatureSpec(scores=(Number("ctr", -3, 2, transform="logit", clip=0.5), Number("cvr", transform="log1p")))
    found = [Encoder(spec).encode_items([Candidate("a", scores)])["priors"] for spec in (plain, scaled)]
    np.testing.assert_array_equal(found[0], found[1])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), spec=SPECS)
def test_fields_never_share_a_row_of_the_table(data: st.DataObject, spec: FeatureSpec) -> None:
    encoder, seen = Encoder(spec), [set[int]() for _ in spec.user_categoricals]
    for _ in range(3):
        ids = encoder.encode_user(data.draw(tables(spec.user)), data.draw(tables(spec.context)))["user_ids"]
        most = sum(field.rows for field in spec.user_categoricals)
        assert all(0 <= i < most for i in ids.tolist())
        for rows, row in zip(seen, ids.tolist(), strict=True):
            rows.add(row)
    assert sum(map(len, seen)) == len(set[int]().union(*seen))


def item_row(field: Categorical, value: Scalar) -> int:
    """The row of a field that stands behind one with three rows."""
    encoder = Encoder(FeatureSpec(item=(Category("first", ("x", "y")), field)))
    ids = encoder.encode_items([Candidate("a", features={field.name: value})])["item_ids"]
    return int(ids[0, 1])


@pytest.mark.parametrize("field", [Category("n", ("5", "true", "5.5")), Hashed("n", 10**6)])
@pytest.mark.parametrize(
    ("one", "same"), [(5, 5.0), (5, "5"), (True, "true"), (5.5, "5.5"), (-0.0, 0), (False, "false")]
)
def test_values_that_json_writes_alike_are_one_category(field: Categorical, one: Scalar, same: Scalar) -> None:
    assert item_row(field, one) == item_row(field, same)


def test_true_and_one_are_different_categories() -> None:
    field = Category("n", ("1", "true"))
    assert [item_row(field, 1), item_row(field, True)] == [3 + 1, 3 + 2]


def test_unknown_and_missing_words_take_row_0_of_their_field() -> None:
    field = Category("n", ("a", "b"))
    assert [item_row(field, v) for v in (None, "c", "A", "", 7, "a", "b")] == [3, 3, 3, 3, 3, 4, 5]


def test_a_missing_id_has_a_row_of_its_own_and_every_other_value_a_bucket() -> None:
    rows = {item_row(Hashed("n", 4), f"v{i}") for i in range(100)}
    assert rows == {3 + 1, 3 + 2, 3 + 3, 3 + 4}
    assert item_row(Hashed("n", 4), None) == 3


HASHES = [165, 133, 141, 156]


def test_hashes_are_the_ones_that_trained_models_know() -> None:
    """CRC-32 of ``brand=acme`` and so on: a change here would silently scramble every model that is out there."""
    field = Hashed("brand", 1000)
    assert [item_row(field, v) - 3 for v in ("acme", "größe", 5, "")] == HASHES
    assert item_row(Hashed("maker", 1000), "acme") - 3 != HASHES[0]


def score(field: Number, value: Scalar) -> float:
    arrays = Encoder(FeatureSpec(scores=(field,))).encode_items([Candidate("a", scores={"s": value})])  # type: ignore[dict-item]
    return float(arrays["item_scores"][0, 0])


def test_certain_probabilities_stay_finite_and_mirror_each_other() -> None:
    wide = Number("s", transform="logit", clip=100.0)
    assert score(wide, 1) == pytest.approx(math.log(1e6), rel=1e-5)
    assert score(wide, 0.0) == -score(wide, 1)
    assert score(wide, -3) == score(wide, 0)
    assert score(wide, 0.5) == 0.0


def test_numbers_are_transformed_then_standardised_then_clipped() -> None:
    field = Number("s", mean=1.0, std=2.0, default=9.0, clip=3.0)
    assert [score(field, v) for v in (1, 5, True, None, 1e300, -1e300)] == [0.0, 2.0, 0.0, 3.0, 3.0, -3.0]
    logged = Number("s", mean=1.0, std=0.5, transform="log1p")
    assert score(logged, math.e - 1) == pytest.approx(0.0, abs=1e-6)
    assert score(logged, math.e**2 - 1) == pytest.approx(2.0, rel=1e-6)
    assert score(logged, -5) == score(logged, 0) == -2.0


TYPED = FeatureSpec(
    user=(Number("age"),), context=(Number("hour"),), item=(Number("x"),), scores=(Number("ctr"),), price=Number("p")
)


@pytest.mark.parametrize(
    ("candidate", "path"),
    [
        (Candidate("b", features={"x": "three"}), "candidates[1].features.x"),
        (Candidate("b", features={"x": ""}), "candidates[1].features.x"),
        (Candidate("b", features={"x": 10**400}), "candidates[1].features.x"),
        (Candidate("b", scores={"ctr": "high"}), "candidates[1].scores.ctr"),  # type: ignore[dict-item]
    ],
)
def test_a_candidates_value_that_is_no_number_is_named(candidate: Candidate, path: str) -> None:
    with pytest.raises(FeatureError) as caught:
        Encoder(TYPED).encode_items([Candidate("a"), candidate])
    assert caught.value.path == path
    assert str(caught.value) == f"{path}: {caught.value.problem}"


def test_the_candidate_is_named_by_its_place_in_the_request_and_not_by_its_slot() -> None:
    candidates = [Candidate("a"), Candidate("b"), Candidate("c", features={"x": "three"})]
    with pytest.raises(FeatureError, match=r"^candidates\[2\]\.features\.x: must be a number, not the string 'three'$"):
        Encoder(TYPED).encode_slots(candidates, np.array([2, -1, 0]))


@pytest.mark.parametrize(
    ("user", "context", "path"),
    [({"age": "old"}, {}, "user.age"), ({}, {"hour": "noon"}, "context.hour"), ({"age": 10**400}, {}, "user.age")],
)
def test_a_users_value_that_is_no_number_is_named(user: Any, context: Any, path: str) -> None:
    with pytest.raises(FeatureError) as caught:
        Encoder(TYPED).encode_user(user, context)
    assert caught.value.path == path


def test_user_and_context_fields_of_one_name_are_told_apart() -> None:
    spec = FeatureSpec(user=(Number("n"), Category("c", ("u",))), context=(Category("c", ("v",)), Number("n")))
    arrays = Encoder(spec).encode_user({"n": 1, "c": "u"}, {"n": 2, "c": "v"})
    assert arrays["user_numbers"].tolist() == [1.0, 2.0]
    assert arrays["user_ids"].tolist() == [1, 3]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), slots=st.lists(st.integers(-1, 3), min_size=1, max_size=8))
def test_slots_hold_their_candidates_in_order_and_zeros_where_empty(data: st.DataObject, slots: list[int]) -> None:
    spec = FeatureSpec(item=(Category("c", ("a", "b")), Number("x")), scores=(Number("s"),), price=Number("p"))
    embeddings = st.none() | st.lists(st.floats(-1, 1), min_size=1, max_size=3).map(tuple)
    candidates = [
        Candidate(str(i), {"s": i + 0.5}, 1.0 + i, {"c": "ab"[i % 2], "x": -i}, data.draw(embeddings)) for i in range(4)
    ]
    encoder = Encoder(spec)
    arrays = encoder.encode_slots(candidates, np.array(slots))
    alone = encoder.encode_items(candidates)
    assert arrays["valid"].dtype == np.bool_
    assert arrays["valid"].tolist() == [slot >= 0 for slot in slots]
    assert set(arrays) == {*alone, "valid", "embeddings"}
    for name in alone:
        assert arrays[name].dtype == alone[name].dtype
        for row, slot in zip(arrays[name], slots, strict=True):
            np.testing.assert_array_equal(row, np.zeros_like(row) if slot < 0 else alone[name][slot])
    for row, slot in zip(arrays["embeddings"], slots, strict=True):
        expected = () if slot < 0 else candidates[slot].embedding or ()
        assert (row[len(expected) :] == 0).all()
        assert row.any() == any(expected)


ROWS = st.lists(
    st.lists(st.one_of(st.just(0.0), st.floats(-1e300, 1e300), st.floats(-1e-300, 1e-300)), min_size=3, max_size=3).map(
        tuple
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS)
def test_embeddings_have_length_1_and_their_direction_whatever_their_magnitude(rows: list[tuple[float, ...]]) -> None:
    unit = unit_embeddings(rows)
    assert unit.dtype == np.float32
    for found, row in zip(unit.astype(np.float64), rows, strict=True):
        length = math.hypot(*(x / max(map(abs, row)) for x in row)) if any(row) else 0.0
        expected = [x / max(map(abs, row)) / length for x in row] if any(row) else [0.0] * 3
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        assert np.linalg.norm(found) == pytest.approx(1.0 if any(row) else 0.0, abs=1e-6)


def test_a_missing_embedding_is_a_row_of_zeros_and_the_width_is_the_longests() -> None:
    unit = unit_embeddings([None, (3.0, 4.0), ()])
    np.testing.assert_allclose(unit, [[0.0, 0.0], [0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("embeddings", [[], [None]])
def test_embeddings_are_at_least_one_wide(embeddings: list[None]) -> None:
    assert unit_embeddings(embeddings).shape == (len(embeddings), 1)


def test_a_spec_without_fields_gives_arrays_without_columns() -> None:
    encoder = Encoder(FeatureSpec())
    assert {n: a.shape for n, a in encoder.encode_user({"x": "y"}, {}).items()} == {
        "user_ids": (0,),
        "user_numbers": (0,),
    }
    assert {n: a.shape for n, a in encoder.encode_items([Candidate("a", price=3.0)] * 2).items()} == {
        "item_ids": (2, 0),
        "item_numbers": (2, 0),
        "item_scores": (2, 0),
        "priors": (2, 2),
        "price": (2,),
    }


def test_rows_stay_the_same_however_many_ids_have_been_seen() -> None:
    field = Hashed("n", 1000)
    encoder = Encoder(FeatureSpec(item=(field,)))
    values = [f"v{i}" for i in range(70_000)] + ["long" * 100]
    for _ in range(2):
        ids = encoder.encode_items([Candidate(v, features={"n": v}) for v in values])["item_ids"]
        assert ids[:, 0].tolist() == [plain_row(field, v) for v in values]
