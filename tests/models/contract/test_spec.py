"""The feature contract: its JSON form, its fingerprint, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings

from models.contract.spec import Category, FeatureSpec, Hashed, Number, SpecError
from tests.models.contract.strategies import SPECS

SPEC = FeatureSpec(
    user=(Category("age", ("18-24", "25-34")), Hashed("city", 100)),
    context=(Number("hour", mean=11.5, std=6.0),),
    item=(Category("category", ("shoes", "hüte")), Number("stars", mean=3.25, default=3.0, clip=4.0)),
    scores=(Number("ctr", mean=-3.0, transform="logit"),),
    price=Number("price", mean=3.5, std=0.75, default=20.0, transform="log1p"),
)
FINGERPRINT = "35c526162e1fdf289fe3b58d33554a651bdfea58f43e35f89330e5b7102b207e"


@settings(max_examples=60, deadline=None)
@given(spec=SPECS)
def test_a_spec_survives_its_json_form_and_keeps_its_fingerprint(spec: FeatureSpec) -> None:
    read = FeatureSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert read == spec
    assert read.fingerprint == spec.fingerprint


@settings(max_examples=60, deadline=None)
@given(one=SPECS, other=SPECS)
def test_different_specs_have_different_fingerprints(one: FeatureSpec, other: FeatureSpec) -> None:
    assume(one != other)
    assert one.fingerprint != other.fingerprint


def test_the_fingerprint_of_a_known_spec_never_changes() -> None:
    """If this fails, bundles that are out there no longer load: raise the format number and say so in CHANGELOG."""
    assert SPEC.fingerprint == FINGERPRINT


def test_another_process_computes_the_same_fingerprint() -> None:
    code = (
        "import json, sys; from models.contract.spec import FeatureSpec; "
        "print(FeatureSpec.from_json(json.load(sys.stdin)).fingerprint)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=json.dumps(SPEC.to_json()), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == FINGERPRINT


@pytest.mark.parametrize(
    "changed",
    [
        replace(SPEC, price=None),
        replace(SPEC, user=SPEC.user[::-1]),
        replace(SPEC, user=SPEC.context, context=SPEC.user),
        replace(SPEC, item=(Category("category", ("hüte", "shoes")), SPEC.item[1])),
        replace(SPEC, user=(SPEC.user[0], Hashed("city", 101))),
        *(
            replace(SPEC, scores=(score,))
            for score in (
                replace(SPEC.scores[0], name="cvr"),
                replace(SPEC.scores[0], mean=-3.0000000001),
                replace(SPEC.scores[0], std=2.0),
                replace(SPEC.scores[0], default=0.5),
                replace(SPEC.scores[0], transform="log1p"),
                replace(SPEC.scores[0], clip=7.0),
            )
        ),
    ],
)
def test_every_change_of_a_spec_changes_its_fingerprint(changed: FeatureSpec) -> None:
    assert changed.fingerprint != FINGERPRINT


def test_categoricals_and_numbers_are_columns_in_declaration_order_user_before_context_and_price_last() -> None:
    spec = FeatureSpec(
        user=(Number("u1"), Category("u2", ("a",)), Hashed("u3", 9)),
        context=(Hashed("c1", 4), Number("c2")),
        item=(Number("i1"), Hashed("i2", 7), Category("i3", ())),
        price=Number("price"),
    )
    assert [f.name for f in spec.user_categoricals] == ["u2", "u3", "c1"]
    assert [f.name for f in spec.user_numbers] == ["u1", "c2"]
    assert [f.name for f in spec.item_categoricals] == ["i2", "i3"]
    assert [f.name for f in spec.item_numbers] == ["i1", "price"]
    assert [field.rows for field in spec.user_categoricals] == [1 + 1, 9 + 1, 4 + 1]
    assert [field.rows for field in spec.item_categoricals] == [7 + 1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Category("c", ("a", "b", "a")), "c.vocabulary: has repeated values"),
        (lambda: Hashed("h", 0), "h.buckets: must be at least 1, not 0"),
        (lambda: Number("n", std=0.0), "n: std and clip must be positive"),
        (lambda: Number("n", std=-1.0), "n: std and clip must be positive"),
        (lambda: Number("n", clip=0.0), "n: std and clip must be positive"),
        (lambda: Number("n", mean=float("nan")), "n.mean: must be finite"),
        (lambda: Number("n", default=float("inf")), "n.default: must be finite"),
        (lambda: Number("n", transform="sqrt"), "n.transform: unknown transform 'sqrt'"),  # type: ignore[arg-type]
        (lambda: FeatureSpec(item=(Number("a"), Hashed("a", 2))), "item: has repeated field names"),
        (lambda: FeatureSpec(scores=(Number("a"), Number("a"))), "scores: has repeated field names"),
    ],
)
def test_fields_that_contradict_themselves_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert str(caught.value) == message


def test_user_and_context_may_each_have_a_field_of_the_same_name() -> None:
    spec = FeatureSpec(user=(Number("age"),), context=(Number("age"),))
    assert [f.name for f in spec.user_numbers] == ["age", "age"]


def edited(edit: Callable[[Any], Any]) -> object:
    data = json.loads(json.dumps(SPEC.to_json()))
    edit(data)
    return data


@pytest.mark.parametrize("key", ["user", "context", "item", "scores", "price"])
def test_a_missing_group_is_named(key: str) -> None:
    with pytest.raises(SpecError, match=rf"^spec\.{key}: is missing$"):
        FeatureSpec.from_json(edited(lambda d: d.pop(key)))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(extra=1), "spec.extra: unknown key"),
        (lambda d: d.update(item={}), "spec.item: must be an array"),
        (lambda d: d.update(item=[3]), "spec.item[0]: must be an object"),
        (lambda d: d.update(price=3), "spec.price: must be an object"),
        (lambda d: d.update(price=d["item"][0]), "spec.price: category must be a number field"),
        (lambda d: d.update(scores=[d["user"][1]]), "spec.scores: city must be a number field"),
        (lambda d: d["user"][1].pop("kind"), "spec.user[1].kind: must be one of"),
        (lambda d: d["user"][1].update(kind="vector"), "spec.user[1].kind: must be one of"),
        (lambda d: d["user"][1].update(kind=["hashed"]), "spec.user[1].kind: must be one of"),
        (lambda d: d["user"][1].pop("buckets"), "spec.user[1].buckets: is missing"),
        (lambda d: d["user"][1].update(buckets=3.0), "spec.user[1].buckets: must be of type int, not float"),
        (lambda d: d["user"][1].update(buckets=True), "spec.user[1].buckets: must be of type int, not bool"),
        (lambda d: d["user"][1].update(std=1.0), "spec.user[1].std: unknown key"),
        (lambda d: d["user"][0].update(vocabulary="ab"), "spec.user[0].vocabulary: must be an array of strings"),
        (lambda d: d["user"][0].update(vocabulary=[1]), "spec.user[0].vocabulary: must be an array of strings"),
        (lambda d: d["item"][1].update(std="1"), "spec.item[1].std: must be of type float, not str"),
        (lambda d: d["item"][1].update(std=None), "spec.item[1].std: must be of type float, not NoneType"),
        (lambda d: d["item"][1].update(std=False), "spec.item[1].std: must be of type float, not bool"),
        (lambda d: d["item"][1].update(mean=10**400), "spec.item[1].mean: is too large for a float"),
        (lambda d: d["item"][1].update(name=7), "spec.item[1].name: must be of type str, not int"),
        (lambda d: d["item"][1].update(std=0), "stars: std and clip must be positive"),
        (lambda d: d["item"][1].update(transform="sqrt"), "stars.transform: unknown transform 'sqrt'"),
        (lambda d: d["item"].append(d["item"][0]), "item: has repeated field names"),
    ],
)
def test_a_malformed_spec_is_refused_naming_the_key(edit: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        FeatureSpec.from_json(edited(edit))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("data", [None, [], "spec", 3])
def test_what_is_no_object_is_no_spec(data: object) -> None:
    with pytest.raises(SpecError, match=r"^spec: must be an object$"):
        FeatureSpec.from_json(data)


def test_whole_numbers_in_json_are_read_as_floats() -> None:
    read = FeatureSpec.from_json(edited(lambda d: d["item"][1].update(default=3)))
    assert read == SPEC
    assert read.fingerprint == FINGERPRINT
