"""A request whose items are known below it is answered as the one that says all itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.contract.candidates import CandidateTable, ObjectTable
from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.manifest import CatalogueManifest
from models.contract.features import Encoder
from models.contract.layers import LayeredTable
from models.contract.rules.definition import Boost, Cap, Floor, Rules
from models.contract.rules.ruling import compile_rules
from models.contract.scalars import FeatureError
from models.contract.slots import ScoreTable
from models.contract.spec import Category, FeatureSpec, Hashed, Number
from tests.models.contract.catalogue.making import Item, write_catalogue
from tests.models.contract.layer_cases import EXTRAS, LayerCase, layer_cases

OFTEN = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
WEIGHTS = (1.0, 2.0, 3.0)


def same(a: Any, b: Any) -> bool:
    """Tell whether two values are equal, arrays byte for byte."""
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[name]) for name, value in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def outcome(run: Callable[[], Any]) -> Any:
    """Return what it returns, or the error as a tuple."""
    try:
        return run()
    except FeatureError as error:
        return error.path, error.problem


def check(case: LayerCase) -> None:
    encoder = Encoder(case.spec)
    whole = ObjectTable(case.whole)
    with case.table(encoder) as layered, np.errstate(over="ignore"):
        assert same(encoder.encode_slots(layered, case.slots), encoder.encode_slots(whole, case.slots))
        for formula in ("price", "ctr * price", "alpha * relevance + ctr"):
            assert same(score(layered, formula, case.spec), score(whole, formula, case.spec))
        assert same(rules_of(layered, case), rules_of(whole, case))
        assert same(layered.prices_at(case.slots[:1]), whole.prices_at(case.slots[:1]))
        assert same(encoder.encode_slots(layered, case.slots), encoder.encode_slots(whole, case.slots))


def score(table: CandidateTable, formula: str, spec: FeatureSpec) -> Any:
    return outcome(lambda: ScoreTable(table, WEIGHTS, spec).score(formula, "here", needed_by="the test"))


def rules_of(table: CandidateTable, case: LayerCase) -> Any:
    names = [*EXTRAS, *(f.name for f in case.spec.item), "unheard of"]
    known = case.whole[-1].features
    rules = Rules(
        caps=tuple(Cap(name, 1, 2) for name in names),
        floors=tuple(Floor(name, known.get(name, "a"), 1, 2) for name in names),
        boosts=tuple(Boost({name: case.whole[0].features.get(name, True)}, 2.0) for name in names),
    )
    shown = [case.whole[0].id, "nowhere"]
    return outcome(lambda: compile_rules(table, rules, shown=shown, top_n=3, mmr_window=2))


@pytest.mark.long
@OFTEN
@given(layer_cases(["catalogue"]))
def test_items_of_a_catalogue_are_as_if_the_request_had_them(case: LayerCase) -> None:
    assert not any(item.features or item.price or item.embedding for item in case.said["request"])
    check(case)


@pytest.mark.long
@OFTEN
@given(layer_cases(["request", "catalogue"]))
def test_what_a_request_says_of_an_item_is_put_over_the_catalogue(case: LayerCase) -> None:
    check(case)


@pytest.mark.long
@OFTEN
@given(layer_cases())
def test_live_values_stand_between_request_and_catalogue(case: LayerCase) -> None:
    check(case)


@pytest.mark.long
@OFTEN
@given(layer_cases(["request"]), st.booleans())
def test_without_layers_a_table_is_the_requests(case: LayerCase, embeddings_first: bool) -> None:
    encoder, table = Encoder(case.spec), LayeredTable(ObjectTable(case.whole), [])
    places = np.arange(len(case.whole))
    if embeddings_first:
        assert same(table.embeddings(places), ObjectTable(case.whole).embeddings(places))
    with np.errstate(over="ignore"):
        assert same(encoder.encode_slots(table, case.slots), encoder.encode_slots(case.whole, case.slots))


SPEC = FeatureSpec(item=(Category("brand", ("acme",)), Hashed("shop", 9), Number("stars")))


def layered(folder: Path, known: list[Item], asked: list[Item]) -> LayeredTable:
    encoder = Encoder(SPEC)
    write_catalogue(folder, encoder, known)
    own = ObjectTable(asked)
    catalogue = Catalogue(CatalogueManifest.read(folder), folder)
    return LayeredTable(own, [catalogue.layer(own.ids, encoder)])


def test_an_embedding_of_another_width_than_the_catalogues_names_its_candidate(tmp_path: Path) -> None:
    asked = [Item("a"), Item("new", embedding=[1.0, 2.0]), Item("b")]
    table = layered(tmp_path, [Item("a", embedding=[1.0, 0.0, 0.0]), Item("b")], asked)
    with pytest.raises(FeatureError) as caught:
        table.embeddings(np.arange(3))
    assert caught.value.path == "candidates[1].embedding"
    assert caught.value.problem == "has 2 numbers, those of the catalogue 3"
    assert table.embeddings(np.array([0, 2])).shape == (2, 3)


def test_another_width_is_taken_where_no_embedding_of_the_catalogue_is_needed(tmp_path: Path) -> None:
    known = [Item("a", embedding=[1.0, 0.0, 0.0]), Item("b")]
    table = layered(tmp_path, known, [Item("a", embedding=[0.0, 2.0]), Item("b"), Item("new", embedding=[1.0, 0.0])])
    assert table.embeddings(np.arange(3)).tolist() == [[0, 1], [0, 0], [1, 0]]


def test_a_catalogue_without_embeddings_takes_any_width(tmp_path: Path) -> None:
    table = layered(tmp_path, [Item("a"), Item("b")], [Item("a"), Item("b", embedding=[3.0, 4.0])])
    assert not table.has_embeddings(np.array([0]))
    assert table.has_embeddings(np.arange(2))
    assert np.allclose(table.embeddings(np.arange(2)), np.array([[0, 0], [0.6, 0.8]]))


def test_zeros_that_a_request_gives_as_an_embedding_are_kept(tmp_path: Path) -> None:
    known = [Item(name, embedding=[1.0, 0.0]) for name in "abc"]
    asked = [Item("a", embedding=[0.0, 0.0]), Item("b"), Item("c", embedding=[0.0, 2.0])]
    table = layered(tmp_path, known, asked)
    assert table.embeddings(np.arange(3)).tolist() == [[0, 0], [1, 0], [0, 1]]
    assert table.embeddings(np.array([0, 1])).tolist() == [[0, 0], [1, 0]]


def test_a_text_in_a_number_names_the_candidate_as_ever(tmp_path: Path) -> None:
    table = layered(tmp_path, [Item("a", {"stars": 4})], [Item("a"), Item("b", {"stars": "five"})])
    with pytest.raises(FeatureError, match=r"^candidates\[1\].features.stars: must be a number"):
        table.numbers("stars", np.arange(2))


def test_a_value_that_the_request_gives_as_null_is_the_catalogues(tmp_path: Path) -> None:
    table = layered(tmp_path, [Item("a", {"stars": 4, "brand": "acme"})], [Item("a", {"stars": None, "brand": None})])
    assert table.numbers("stars", np.arange(1)).tolist() == [4.0]
    assert table.values("brand", np.arange(1)) == ["acme"]
    assert table.others("item", np.arange(1), frozenset({"brand"}), 1) == frozenset()


def test_a_surplus_feature_is_found_however_much_the_catalogue_knows(tmp_path: Path) -> None:
    known = [Item("a", {"brand": "acme", "colour": "red"})]
    table = layered(tmp_path, known, [Item("a", {"size": "L"})])
    # One value of a known field is there, and one feature in the request: another one.
    assert table.others("item", np.arange(1), frozenset({"brand"}), 1) == {"size"}
