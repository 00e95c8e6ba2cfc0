"""Random feature specs, and values that fit or do not fit them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from models.contract.scalars import Scalar
from models.contract.spec import Categorical, Category, FeatureSpec, Field, Hashed, Number

FINITE = st.floats(-1e6, 1e6)
POSITIVE = st.floats(1e-3, 1e3)
NAMES = st.sampled_from(["age", "hour", "brand", "category", "stars", "price", "größe", "x y", ""])
WORDS = st.sampled_from(["a", "b", "shoes", "true", "false", "5", "5.5", "", "ü", "\ud800"])

CATEGORIES = st.builds(Category, NAMES, st.lists(WORDS, max_size=4, unique=True).map(tuple))
HASHED = st.builds(Hashed, NAMES, st.integers(1, 50))
NUMBERS = st.builds(
    Number,
    NAMES,
    mean=FINITE,
    std=POSITIVE,
    default=FINITE,
    transform=st.sampled_from(["identity", "log1p", "logit"]),
    clip=POSITIVE,
)
FIELDS: st.SearchStrategy[Field] = st.one_of(CATEGORIES, HASHED, NUMBERS)


def groups(fields: st.SearchStrategy[Field]) -> st.SearchStrategy[tuple[Field, ...]]:
    return st.lists(fields, max_size=4, unique_by=lambda f: f.name).map(tuple)


SPECS = st.builds(
    FeatureSpec,
    user=groups(FIELDS),
    context=groups(FIELDS),
    item=groups(FIELDS),
    scores=st.lists(NUMBERS, max_size=3, unique_by=lambda f: f.name).map(tuple),
    price=st.none() | NUMBERS,
)

CATEGORICAL_VALUES: st.SearchStrategy[Scalar] = st.one_of(
    st.none(), WORDS, st.booleans(), st.integers(-10, 10), st.sampled_from([5.0, 5.5, -0.0, 1e300])
)
NUMERIC_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.sampled_from([0.0, 1.0]), st.floats(0, 1), FINITE
)


def tables(fields: tuple[Field, ...]) -> st.SearchStrategy[dict[str, Scalar]]:
    """Values for some of the fields, and one for a field that the spec does not know."""
    values = {f.name: CATEGORICAL_VALUES if isinstance(f, Categorical) else NUMERIC_VALUES for f in fields}
    return st.fixed_dictionaries({"unheard of": st.just("x")}, optional=values)


def _writable(spec: FeatureSpec) -> FeatureSpec:
    return FeatureSpec.from_json(json.loads(json.dumps(spec.to_json()).replace(r"\ud800", "other")))


WRITABLE_SPECS = SPECS.map(_writable)
"""Specs without half surrogate pairs, with which no catalogue can be built."""
