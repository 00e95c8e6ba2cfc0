"""An open catalogue finds what a dictionary would, whatever was updated and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.arrays import Ints
from models.contract.catalogue import index
from models.contract.catalogue.catalogue import Catalogue, CatalogueItem
from models.contract.catalogue.index import MOST_MERGED
from models.contract.catalogue.manifest import CatalogueError, CatalogueManifest
from models.contract.features import Encoder
from models.contract.spec import Category, FeatureSpec, Hashed, Number
from tests.models.contract.catalogue.making import Item, write_catalogue

SPEC = FeatureSpec(
    item=(Category("brand", ("acme", "bolt")), Number("stars"), Hashed("shop", 50)), price=Number("price", default=9.0)
)
ENCODER = Encoder(SPEC)
IDS = [f"item-{i}" for i in range(8)]

ITEMS = st.builds(
    Item,
    st.sampled_from(IDS[:6]),
    st.fixed_dictionaries(
        {},
        optional={
            "brand": st.sampled_from(["acme", "bolt", "other", "", "ü"]),
            "stars": st.none() | st.floats(0, 5) | st.integers(0, 5),
            "shop": st.sampled_from(["s1", "s2", None]),
            "fresh": st.booleans(),
        },
    ),
    st.none() | st.floats(0, 100),
    st.none() | st.lists(st.floats(-1, 1).filter(lambda x: x == 0 or abs(x) > 1e-3), min_size=3, max_size=3),
)
TOMBSTONES = st.builds(Item, st.sampled_from(IDS[:6]), deleted=st.just(True))
BATCHES = st.lists(st.lists(ITEMS | TOMBSTONES, max_size=6, unique_by=lambda item: item.id), min_size=1, max_size=4)


def opened(folder: Path, *batches: Sequence[Item], encoder: Encoder = ENCODER) -> Catalogue:
    write_catalogue(folder, encoder, *batches)
    return Catalogue(CatalogueManifest.read(folder), folder)


@pytest.mark.long
@settings(max_examples=200)
@given(BATCHES, st.lists(st.sampled_from(IDS)), st.sampled_from([0, 3, 8, MOST_MERGED]))
def test_it_finds_what_the_newest_segment_says_of_an_item(
    batches: list[list[Item]], asked: list[str], most_merged: int
) -> None:
    model: dict[str, Item] = {}
    for item in (item for batch in batches for item in batch):
        model.pop(item.id, None)
        if not item.deleted:
            model[item.id] = item
    with TemporaryDirectory() as folder, patch.object(index, "MOST_MERGED", most_merged):
        catalogue = opened(Path(folder), *batches)
        assert len(catalogue) == len(model)
        assert (catalogue.locate(asked) >= 0).tolist() == [name in model for name in asked]
        layer = catalogue.layer(asked, ENCODER)
        places = np.arange(len(asked))[::-1].copy()
        found = [model.get(asked[place]) for place in places.tolist()]
        assert layer.known(places).tolist() == [item is not None for item in found]
        for name in ("brand", "stars", "shop", "fresh", "unheard of"):
            assert layer.values(name, places) == [item and item.features.get(name) for item in found]
        prices = [np.nan if item is None else item.price for item in found]
        assert np.array_equal(layer.prices(places), np.array(prices, np.float64), equal_nan=True)
        for own, whole in zip(found, catalogue.items([asked[place] for place in places.tolist()]), strict=True):
            assert_alike(own, whole)


def assert_alike(item: Item | None, whole: CatalogueItem | None) -> None:
    assert (item is None) == (whole is None)
    if item is not None and whole is not None:
        assert whole.id == item.id
        assert whole.features == {name: value for name, value in item.features.items() if value is not None}
        assert (whole.embedding is None) == (item.embedding is None or not any(item.embedding))
        if whole.embedding is not None and item.embedding is not None:
            assert np.allclose(np.array(item.embedding) / np.linalg.norm(item.embedding), whole.embedding)


def watch(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Note the ids of every look-up."""
    located: list[list[str]] = []
    locate = catalogue.locate

    def noting(ids: Sequence[str]) -> Ints:
        located.append(list(ids))
        return locate(ids)

    monkeypatch.setattr(catalogue, "locate", noting)
    return located


def test_a_layer_looks_up_only_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = opened(tmp_path, [Item(name, price=float(i)) for i, name in enumerate(IDS)])
    located = watch(catalogue, monkeypatch)
    layer = catalogue.layer(IDS, ENCODER)
    assert located == []
    places = np.array([3, 1])
    assert layer.prices(places).tolist() == [3.0, 1.0]
    assert layer.known(places).all()
    assert np.isnan(layer.numbers("stars", places)).all()
    assert located == [[IDS[3], IDS[1]]]
    assert layer.prices(np.array([1, 2])).tolist() == [1.0, 2.0]
    assert located[1:] == [[IDS[2]]]
    assert layer.prices(np.arange(8)).tolist() == list(range(8))
    assert layer.prices(np.arange(8)).tolist() == list(range(8))
    assert sorted(name for names in located for name in names) == sorted(IDS)


def test_a_layer_that_is_asked_for_all_looks_all_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = opened(tmp_path, [Item(name, price=float(i)) for i, name in enumerate(IDS)])
    located = watch(catalogue, monkeypatch)
    layer = catalogue.layer(IDS, ENCODER)
    assert layer.prices(np.arange(8)[::-1]).tolist() == list(range(8))[::-1]
    assert layer.prices(np.array([5])).tolist() == [5.0]
    assert located == [IDS]


def test_a_layer_of_another_spec_is_refused(tmp_path: Path) -> None:
    catalogue = opened(tmp_path, [Item("a")])
    with pytest.raises(CatalogueError, match="fingerprint"):
        catalogue.layer(["a"], Encoder(FeatureSpec()))


def test_numbers_of_fields_that_the_spec_does_not_have_are_read_from_their_values(tmp_path: Path) -> None:
    catalogue = opened(tmp_path, [Item("a", {"height": 3, "fresh": True, "name": "x"})])
    layer = catalogue.layer(["a", "b"], ENCODER)
    places = np.arange(2)
    assert np.array_equal(layer.numbers("height", places), [3.0, np.nan], equal_nan=True)
    assert np.array_equal(layer.numbers("fresh", places), [1.0, np.nan], equal_nan=True)
    assert np.isnan(layer.numbers("name", places)).all()
