"""Missing and unknown values, and what nothing uses: counted against the request and the spec alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.candidates import ObjectTable
from models.contract.features import Encoder
from models.contract.scalars import Scalar
from models.contract.spec import Category, FeatureSpec, Field, Number
from models.data.records import Candidate
from service.contract.field_values import FIELD_STATES, FieldReader, FieldUse
from service.contract.schemas import MOST_WARNINGS
from service.ranking.warnings import field_warnings
from tests.models.contract.strategies import SPECS, tables
from tests.service.tiny_bundle import Options, make_manifest

Table = Mapping[str, Any]
Case = tuple[FeatureSpec, Table, Table, list[Candidate]]
"""A spec, and a user, a context and candidates for it."""

FORMULA_SCORES = {"ctr", "cvr"}
"""What the tiny bundle's queues use."""


def state(field: Field, value: Scalar) -> str:
    """The state of one value, told from the JSON that it would be."""
    if value is None:
        return "missing"
    if not isinstance(field, Category):
        return "known"
    whole = isinstance(value, float) and value == int(value)
    text = value if isinstance(value, str) else json.dumps(int(value) if whole else value)
    return "known" if text in field.vocabulary else "unknown"


def grouped(case: Case) -> list[tuple[str, Field, list[Any]]]:
    """Every field of the spec with its path and all its values."""
    spec, user, context, chosen = case
    groups: list[tuple[str, Iterable[Field], list[Any]]] = [
        ("user", spec.user, [user]),
        ("context", spec.context, [context]),
        ("item", spec.item, [c.features for c in chosen]),
        ("scores", spec.scores, [c.scores for c in chosen]),
    ]
    found: list[tuple[str, Field, list[Any]]] = [
        (f"{group}.{f.name}", f, [t.get(f.name) for t in given]) for group, fields, given in groups for f in fields
    ]
    return found + ([] if spec.price is None else [("price", spec.price, [c.price for c in chosen])])


def surplus(case: Case, formula: set[str]) -> set[str]:
    """Paths of what was sent, other than null, and nothing uses."""
    spec, user, context, chosen = case
    sent: list[tuple[str, Table]] = [("user", user), ("context", context)]
    sent += [("item", c.features) for c in chosen] + [("scores", c.scores) for c in chosen]
    used = {(group, f.name) for group in ("user", "context", "item", "scores") for f in getattr(spec, group)}
    used |= {("scores", name) for name in formula | FORMULA_SCORES}
    return {f"{g}.{name}" for g, t in sent for name, v in t.items() if v is not None and (g, name) not in used}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    spec = draw(SPECS)
    more = st.fixed_dictionaries({}, optional={"new": st.sampled_from(["x", None]), "Shoes ": st.none()})

    def some(fields: tuple[Field, ...]) -> st.SearchStrategy[Table]:
        own = tables(fields).map(lambda t: {k: v for k, v in t.items() if k != "unheard of"})
        return st.builds(lambda a, b: {**b, **a}, own, more)

    numbers = st.floats(0, 1) | st.sampled_from([f.default for f in spec.scores] or [0.0])
    names = ["ctr", "cvr", "margin", "other", *(f.name for f in spec.scores)]
    scores = st.dictionaries(st.sampled_from(names), numbers, max_size=4)
    default = 1.0 if spec.price is None else abs(spec.price.default)
    price = st.none() | st.floats(0, 1e6) | st.just(default)
    features: st.SearchStrategy[Table] = st.one_of(some(spec.item), st.just({}))
    made = draw(st.lists(st.tuples(features, scores, price), min_size=1, max_size=6))
    chosen = [Candidate(str(i), s, p, f) for i, (f, s, p) in enumerate(made)]
    return spec, draw(some(spec.user)), draw(some(spec.context)), chosen


def read(case: Case, *, padded: bool) -> tuple[FieldReader, FieldUse]:
    """The reader of a spec, and its findings about candidates that stand between empty slots or fill all of them."""
    spec, user, context, chosen = case
    encoder = Encoder(spec)
    slots = np.arange(len(chosen))
    slots = np.insert(slots, [0, len(chosen)], -1) if padded else slots
    with np.errstate(over="ignore"):
        row = {**encoder.encode_user(user, context), **encoder.encode_slots(chosen, slots)}
    reader = FieldReader(make_manifest(Options(spec=spec)), encoder)
    return reader, reader.read(user, context, ObjectTable(chosen), np.arange(len(chosen)), row, ["ctr*margin"])


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(case=cases(), padded=st.booleans())
def test_counts_and_warnings_are_what_the_request_and_the_spec_say(case: Case, padded: bool) -> None:
    reader, use = read(case, padded=padded)
    counted = {path: [state(f, v) for v in values] for path, f, values in grouped(case)}
    found = zip(use.counts.fields, use.counts.counts.tolist(), strict=True)
    assert dict(found) == {path: [states.count(s) for s in FIELD_STATES] for path, states in counted.items()}

    expected = {(path, "unknown-field") for path in surplus(case, {"margin"})}
    for path, field, _ in grouped(case):
        known, missing, unknown = (counted[path].count(s) for s in FIELD_STATES)
        if isinstance(field, Category) and not field.vocabulary:
            continue  # There is nothing that the model could have known.
        if missing == len(counted[path]):
            expected.add((path, "missing"))
        elif unknown > known:
            expected.add((path, "unknown-values"))
    warnings = field_warnings(use, reader)
    told = {(w.field, w.problem) for w in warnings}
    assert len(told) == len(warnings) == min(len(expected), MOST_WARNINGS)
    assert told <= expected


def test_very_many_names_that_nothing_uses_are_found_and_cost_no_more_than_reading_them() -> None:
    looked_up = 0

    class Noting(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            nonlocal looked_up
            looked_up += 1
            return super().get(key, default)

    spec = FeatureSpec(item=(Number("n"),))
    features = [Noting({"n": 1.0, **{f"{i}-{k}": "x" for k in range(200)}, "gone": None}) for i in range(20)]
    chosen = [Candidate(str(i), {}, None, f) for i, f in enumerate(features)]
    _, use = read((spec, {}, {}, chosen), padded=False)
    assert len(use.surplus["item"]) == 20 * 200
    assert looked_up < 200
