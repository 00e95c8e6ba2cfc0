"""Candidates as columns give the same arrays, queues, rules and errors as the same candidates as objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.candidates import CandidateTable, ObjectTable
from models.contract.column_table import ColumnData, ColumnTable, Float32Error, read_float32
from models.contract.features import Encoder
from models.contract.rules.ruling import compile_rules
from models.contract.scalars import FeatureError
from models.contract.slots import ScoreTable
from models.contract.spec import Category, FeatureSpec, Field, Number
from models.data.records import Candidate
from tests.models.contract.columns import column_data
from tests.models.contract.rules.cases import CASES, Case
from tests.models.contract.strategies import SPECS, tables

ROWS = st.none() | st.tuples(*[st.floats(-1e3, 1e3)] * 3)
FORMULAS = ("ctr", "ctr*cvr", "price", "ctr + price*gamma")


@st.composite
def candidates(draw: st.DrawFn, spec: FeatureSpec) -> list[Candidate]:
    """Some candidates with fields of the spec, and others."""
    names = ("ctr", "cvr", *(field.name for field in spec.scores))
    scores: Any = st.fixed_dictionaries({}, optional={name: st.none() | st.floats(0, 1) for name in names})
    items: st.SearchStrategy[dict[str, Any]] = tables(spec.item)
    return [
        Candidate(str(i), draw(scores), draw(st.none() | st.floats(0, 1e6)), draw(items), draw(ROWS))
        for i in range(draw(st.integers(1, 5)))
    ]


def both(made: list[Candidate], *, arrays: bool) -> tuple[ObjectTable, ColumnTable]:
    return ObjectTable(made), ColumnTable(column_data(made, arrays=arrays))


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), spec=SPECS, arrays=st.booleans())
def test_columns_are_encoded_as_objects_are(data: st.DataObject, spec: FeatureSpec, arrays: bool) -> None:
    made = data.draw(candidates(spec))
    objects, columns = both(made, arrays=arrays)
    slots = np.array(data.draw(st.lists(st.integers(-1, len(made) - 1), max_size=6)), np.int64)
    expected = Encoder(spec).encode_slots(objects, slots)
    assert_same(Encoder(spec).encode_slots(columns, slots), expected)
    assert columns.has_embeddings(slots[slots >= 0]) == objects.has_embeddings(slots[slots >= 0])


@settings(max_examples=80, deadline=None)
@given(data=st.data(), spec=SPECS)
def test_formulas_over_columns_are_those_over_objects(data: st.DataObject, spec: FeatureSpec) -> None:
    objects, columns = both(data.draw(candidates(spec)), arrays=True)
    for formula in FORMULAS:
        assert computed(columns, formula, spec) == computed(objects, formula, spec)


def computed(table: CandidateTable, formula: str, spec: FeatureSpec) -> object:
    """The formula's values, or what is wrong, without the field: tables name it in their own ways."""
    try:
        return ScoreTable(table, (5.0, 1.0, 2.0), spec).score(formula, "here", needed_by="it").tolist()
    except FeatureError as error:
        return error.problem


@settings(max_examples=80, deadline=None)
@given(case=CASES, arrays=st.booleans())
def test_rules_over_columns_are_those_over_objects(case: Case, arrays: bool) -> None:
    found, expected = (
        compile_rules(
            table,
            case.rules,
            shown=case.shown,
            shown_items=case.shown_items,
            top_n=case.top_n,
            mmr_window=case.mmr_window,
        )
        for table in (ColumnTable(column_data(case.candidates, arrays=arrays)), case.candidates)
    )
    np.testing.assert_equal(asdict(found), asdict(expected))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), spec=SPECS, arrays=st.booleans())
def test_names_of_fields_are_those_of_objects(data: st.DataObject, spec: FeatureSpec, arrays: bool) -> None:
    made = data.draw(candidates(spec))
    objects, columns = both(made, arrays=arrays)
    places = np.array(data.draw(st.lists(st.integers(0, len(made) - 1), max_size=6, unique=True)), np.int64)
    assert set(columns.score_names()) == set(objects.score_names())
    for group in ("item", "scores"):
        known = frozenset(data.draw(st.lists(st.sampled_from(["ctr", "a", "brand", "unheard of"]))))
        assert columns.others(group, places, known, -1) == objects.others(group, places, known, -1)
    for name in ("brand", "unheard of", "nowhere"):
        assert columns.values(name, places) == objects.values(name, places)


def test_errors_name_column_and_place() -> None:
    item: tuple[Field, ...] = (Number("stars"), Category("brand", ("a",)))
    spec = FeatureSpec(item=item, scores=(Number("ctr", transform="logit"),))
    data = ColumnData(["a", "b"], {"ctr": np.array([0.5, 1.5])}, features={"stars": [5, "five"], "brand": ["a", None]})
    table = ColumnTable(data)
    with pytest.raises(FeatureError, match="must be a number, not the string 'five'") as caught:
        Encoder(spec).encode_slots(table, np.array([0, 1]))
    assert caught.value.path == "candidates.features.stars[1]"
    with pytest.raises(FeatureError, match=r"must be a probability in 0..1, not 1.5") as caught:
        ScoreTable(table, (1.0, 1.0, 1.0), spec)
    assert caught.value.path == "candidates.scores.ctr[1]"
    assert table.name(1) == "candidates[1]"


def test_a_table_without_columns_has_nothing() -> None:
    table: CandidateTable = ColumnTable(ColumnData(["a", "b"], {}))
    every = np.arange(2)
    assert (len(table), table.ids) == (2, ["a", "b"])
    assert np.isnan(table.score("ctr")).all()
    assert np.isnan(table.prices()).all()
    assert (table.values("x", every), table.tags("x")) == ([None, None], [None, None])
    assert (table.embeddings(every).shape, table.has_embeddings(every)) == ((2, 1), False)


NUMBERS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20)


@given(numbers=NUMBERS)
def test_float32_is_read_back(numbers: list[float]) -> None:
    found = read_float32(np.array(numbers, "<f4").tobytes())
    assert found.tolist() == numbers
    assert found.dtype == np.float32


@pytest.mark.parametrize("size", [1, 3, 7])
def test_bytes_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(Float32Error, match=f"base64 of {size} bytes, which is no multiple of 4") as caught:
        read_float32(bytes(size))
    assert caught.value.place is None


@pytest.mark.parametrize(("number", "said"), [(np.nan, "NaN"), (np.inf, "Infinity"), (-np.inf, "-Infinity")])
def test_numbers_that_are_not_finite_are_refused_with_their_place(number: float, said: str) -> None:
    with pytest.raises(Float32Error, match=f"^is {said}; numbers must be finite") as caught:
        read_float32(np.array([1, 2, number, np.nan], "<f4").tobytes())
    assert caught.value.place == 2
