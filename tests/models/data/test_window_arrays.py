"""Windows encoded column by column: bit for bit what the same lists give as records."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.spec import Categorical, FeatureSpec, Field, Number
from models.data.batches import encode_lists
from models.data.list_file import ListFile
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListRecord
from models.data.slates import encode_slates
from models.data.window_arrays import WindowEncoder
from models.data.windows import ListWindow
from tests.models.contract.strategies import SPECS
from tests.models.specs import fit_spec
from tests.models.training.records import make_records

KINDS: tuple[st.SearchStrategy[Any], ...] = (
    st.sampled_from(["a", "b", "5", "true", "", "ü"]),
    st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([5.0, -0.0, 1e300]),
    st.booleans(),
)
LIMIT = 4


def window_of(records: list[ListRecord], folder: Path) -> ListWindow:
    path = folder / "lists.parquet"
    write_lists(path, records, {})
    (window,) = ListFile(path).windows()
    return window


def tables(draw: st.DrawFn, fields: tuple[Field, ...]) -> dict[str, st.SearchStrategy[Any]]:
    """Values of one kind per field, as a column holds them; text for categories alone."""
    kinds = {f.name: draw(st.sampled_from(KINDS if isinstance(f, Categorical) else KINDS[1:])) for f in fields}
    return {name: kind | st.none() for name, kind in kinds.items()} | {"unheard of": st.just("x")}


@st.composite
def logs(draw: st.DrawFn, spec: FeatureSpec) -> list[ListRecord]:
    """A few lists whose columns fit a spec, with everything missing here and there."""
    groups = {name: tables(draw, getattr(spec, name)) for name in ("user", "context", "item")}
    rows = {name: st.fixed_dictionaries({}, optional=columns) for name, columns in groups.items()}
    scores = st.fixed_dictionaries({}, optional={f.name: st.floats(-1, 2) for f in spec.scores})
    width = draw(st.integers(0, 3))
    numbers = st.lists(st.floats(-9, 9), min_size=width, max_size=width).map(tuple)
    records = []
    for i in range(draw(st.integers(1, 4))):
        candidates = tuple(
            Candidate(
                str(j), draw(scores), draw(st.none() | st.floats(0, 1e6)), draw(rows["item"]), draw(st.none() | numbers)
            )
            for j in range(draw(st.integers(1, 6)))
        )
        shown = draw(st.permutations(range(len(candidates))))[: draw(st.integers(0, 6))]
        outcomes = st.lists(st.integers(0, 1), min_size=len(shown), max_size=len(shown)).map(tuple)
        gmv = draw(st.none() | outcomes.map(lambda row: tuple(9.99 * v for v in row)))
        labels = (draw(outcomes), draw(st.none() | outcomes), gmv)
        records.append(ListRecord(str(i), candidates, tuple(shown), *labels, draw(rows["user"]), draw(rows["context"])))
    return records


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(data=st.data(), spec=SPECS)
def test_columns_give_the_arrays_of_records(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, spec: FeatureSpec
) -> None:
    records = data.draw(logs(spec))
    window = window_of(records, tmp_path_factory.mktemp("log"))
    encoder = WindowEncoder(spec, LIMIT)
    shown, slates = encoder.shown(window), encoder.slates(window)
    assert_same(shown, encode_lists(records, spec, LIMIT))
    expected = encode_slates(records, spec, LIMIT)
    assert_same(slates, expected)
    assert slates.request_ids == expected.request_ids


def assert_same(found: Any, expected: Any) -> None:
    arrays, others = found.arrays(), expected.arrays()
    assert arrays.keys() == others.keys()
    for name, values in others.items():
        assert arrays[name].dtype == values.dtype, name
        np.testing.assert_array_equal(arrays[name], values, name)
    assert found.digest == expected.digest


def test_embeddings_that_were_not_read_are_zeros(tmp_path: Path) -> None:
    records = [
        dataclasses.replace(r, candidates=tuple(dataclasses.replace(c, embedding=(1.0, 2.0)) for c in r.candidates))
        for r in make_records(3)
    ]
    spec = fit_spec(records)
    window = window_of(records, tmp_path)
    assert WindowEncoder(spec, 4).shown(window).features["embeddings"].shape == (3, 4, 2)
    features = WindowEncoder(spec, 4).shown(window.without_embeddings).features
    assert features["embeddings"].shape == (3, 4, 1)
    assert not features["embeddings"].any()


@pytest.mark.parametrize("group", ["user", "context", "item"])
def test_text_where_a_number_belongs_is_named_with_its_list_and_place(tmp_path: Path, group: str) -> None:
    records = make_records(3)
    texts = [dataclasses.replace(r, user={"x": "many"}, context={"x": "many"}) for r in records]
    texts = [
        dataclasses.replace(r, candidates=tuple(dataclasses.replace(c, features={"x": "many"}) for c in r.candidates))
        for r in texts
    ]
    spec = FeatureSpec(**{group: (Number("x"),)})  # type: ignore[arg-type]
    encoder, window = WindowEncoder(spec, 4), window_of(texts, tmp_path)
    for encode, other in ((encoder.shown, encode_lists), (encoder.slates, encode_slates)):
        with pytest.raises(
            ValueError, match=r"^list 'r-0': .*x: must be a number, not the string 'many'$"
        ) as by_record:
            other(texts, spec, 4)
        with pytest.raises(ValueError, match="many") as by_column:
            encode(window)
        assert str(by_column.value) == str(by_record.value)
