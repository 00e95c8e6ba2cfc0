"""Items of a catalogue are encoded exactly as the same values in a request are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.catalogue.build import build_catalogue
from models.contract.candidates import ObjectTable
from models.contract.features import Encoder
from models.contract.layers import LayeredTable
from models.contract.scalars import Scalar
from models.contract.spec import Category, FeatureSpec, Hashed, Number
from tests.models.catalogue.making import opened
from tests.models.contract.strategies import WRITABLE_SPECS

IDS = ["a", "b", "ü", "item-4", "x y"]
TEXTS = st.sampled_from(["a", "shoes", "true", "5", "5.5", "", "ü", "b" * 70])
WHOLE = st.integers(-(2**53), 2**53) | st.sampled_from([0, 5, -0])
WIDE = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([5.0, 5.5, -0.0, 1e300])
SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)
NUMBER_TYPES = [
    (pa.int64(), WHOLE),
    (pa.int64(), WIDE),
    (pa.float64(), REAL),
    (pa.float32(), SINGLE),
    (pa.bool_(), st.booleans()),
]
TEXT_TYPES = [(pa.string(), TEXTS), (pa.large_string(), TEXTS), (pa.dictionary(pa.int8(), pa.string()), TEXTS)]


@dataclass(frozen=True)
class Item:
    """A candidate with all of its values, or with none."""

    id: str
    features: dict[str, Scalar] = field(default_factory=dict)
    price: float | None = None
    embedding: tuple[float, ...] | None = None
    scores: dict[str, float | None] = field(default_factory=dict)


@st.composite
def columns(draw: st.DrawFn, spec: FeatureSpec) -> dict[str, pa.Array]:
    """Columns of one Arrow type each for the fields of a spec and one more, some of them left out."""
    found = {}
    for name in [*(f.name for f in spec.item), "not in the spec"]:
        is_number = any(f.name == name and isinstance(f, Number) for f in spec.item)
        kind, values = draw(st.sampled_from(NUMBER_TYPES if is_number else NUMBER_TYPES + TEXT_TYPES))
        if draw(st.integers(0, 5)):
            found[name] = pa.array(draw(st.lists(st.none() | values, min_size=len(IDS), max_size=len(IDS))), kind)
    return found


def items(fields: dict[str, pa.Array], prices: list[Any], embeddings: list[Any]) -> list[Item]:
    rows = [{name: array[i].as_py() for name, array in fields.items()} for i in range(len(IDS))]
    return [Item(*parts) for parts in zip(IDS, rows, prices, map(as_tuple, embeddings), strict=True)]


def as_tuple(values: list[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)


EMBEDDINGS = st.one_of(
    st.lists(st.none() | st.just([]) | st.lists(SINGLE, min_size=3, max_size=3), min_size=5, max_size=5).map(
        lambda rows: pa.array(rows, pa.list_(pa.float32()))
    ),
    st.lists(st.none() | st.lists(REAL, min_size=2, max_size=2), min_size=5, max_size=5).map(
        lambda rows: pa.array(rows, pa.list_(pa.float64(), 2))
    ),
)


@pytest.mark.long
@settings(max_examples=40)
@given(WRITABLE_SPECS, st.data())
def test_a_bare_candidate_is_encoded_as_one_with_all_values(spec: FeatureSpec, data: st.DataObject) -> None:
    fields = data.draw(columns(spec))
    prices = data.draw(st.lists(st.none() | st.floats(0, 1e12), min_size=5, max_size=5))
    embeddings = data.draw(EMBEDDINGS)
    whole = items(fields, prices, embeddings.to_pylist())
    structs = {"features": pa.StructArray.from_arrays(list(fields.values()), list(fields))} if fields else {}
    table = pa.table({"id": IDS, "price": pa.array(prices, pa.float64()), "embedding": embeddings, **structs})
    encoder, slots = Encoder(spec), np.array([4, -1, 0, 1, 2, 3])
    wanted = encoder.encode_slots(whole, slots)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "items.parquet"
        pq.write_table(table, path)
        catalogue = opened(build_catalogue(path, spec, Path(folder) / "root"))
        bare = ObjectTable([Item(item.id) for item in whole])
        found = encoder.encode_slots(LayeredTable(bare, [catalogue.layer(bare.ids, encoder)]), slots)
    assert found.keys() == wanted.keys()
    if not wanted["embeddings"].any():  # Zeros of any width say the same.
        wanted["embeddings"] = wanted["embeddings"][:, :1]
        found["embeddings"] = found["embeddings"][:, :1]
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize("whole", [2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**64 - 1])
def test_whole_numbers_past_2_to_the_53_are_told_apart(tmp_path: Path, whole: int) -> None:
    spec = FeatureSpec(item=(Hashed("shop", 10_000), Category("kind", (str(whole),))))
    kind = pa.uint64() if whole >= 2**63 else pa.int64()
    ids, shops = ["a", "b", "c"], [whole, whole - 1 if whole > 0 else whole + 1, None]
    pq.write_table(
        pa.table({"id": ids, "shop": pa.array(shops, kind), "kind": pa.array(shops, kind)}), tmp_path / "items.parquet"
    )
    catalogue = opened(build_catalogue(tmp_path / "items.parquet", spec, tmp_path / "root"))
    encoder, places = Encoder(spec), np.arange(3)
    bare = ObjectTable([Item(name) for name in ids])
    found = encoder.encode_items(LayeredTable(bare, [catalogue.layer(ids, encoder)]), places)
    wanted = encoder.encode_items([Item(n, {"shop": s, "kind": s}) for n, s in zip(ids, shops, strict=True)])
    assert np.array_equal(found["item_ids"], wanted["item_ids"])
    assert [item and item.features.get("shop") for item in catalogue.items(ids)] == [str(whole), str(shops[1]), None]
