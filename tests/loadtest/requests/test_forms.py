"""Candidates in other forms say the same as objects, and items of a catalogue are those that requests name."""

from __future__ import annotations

import base64
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from loadtest.requests import items as items_command
from loadtest.requests.fake import FakeItems, FakeRequests
from loadtest.requests.forms import Form, Numbers, in_form
from loadtest.requests.items import all_items, write_items
from loadtest.requests.payloads import Payload, add_payload_options, payloads_from
from tests.loadtest.specs import SPEC, write_bundle_json

WIDTH = 4
MIXED: list[dict[str, Any]] = [
    {"id": "a", "scores": {"ctr": 0.5}, "features": {"brand": "b", "new": True, "stars": 4}, "tags": {"t": 1}},
    {"id": "b", "scores": {"ctr": 0.25, "cvr": 0.5}, "price": 2.0, "features": {"stars": 5}, "embedding": [1.0, 0.0]},
]


def options(*given: str) -> Namespace:
    parser = ArgumentParser()
    add_payload_options(parser)
    return parser.parse_args(given)


def made(tmp_path: Path, *given: str) -> list[Payload]:
    bundle = tmp_path / "demo" / "1"
    if not bundle.exists():
        write_bundle_json(tmp_path)
    common = ("--payloads", "3", "--candidates", "20", "--embedding-width", str(WIDTH))
    return payloads_from(options("--bundle", str(bundle), *common, *given))


def floats(text: str) -> list[float]:
    return list(map(float, np.frombuffer(base64.b64decode(text), "<f4")))


def test_columns_hold_what_the_objects_hold_in_their_order() -> None:
    objects = FakeRequests(SPEC, seed=1, embedding_width=WIDTH).request(9)["candidates"]
    columns: Any = in_form(objects, "columns", "arrays")
    assert set(columns) == {"id", "scores", "price", "features", "embedding"}
    for name in ("id", "price", "embedding"):
        assert columns[name] == [candidate[name] for candidate in objects]
    for group in ("scores", "features"):
        assert list(columns[group]) == list(objects[0][group])
        assert all(columns[group][name] == [c[group][name] for c in objects] for name in columns[group])


def test_numbers_as_base64_are_those_of_the_arrays_in_float32() -> None:
    objects = FakeRequests(SPEC, seed=1, embedding_width=WIDTH).request(9)["candidates"]
    arrays: Any = in_form(objects, "columns", "arrays")
    packed: Any = in_form(objects, "columns", "base64")
    assert packed["id"] == arrays["id"]
    assert packed["features"]["category"] == arrays["features"]["category"]
    pairs = [(packed["scores"][name], arrays["scores"][name]) for name in arrays["scores"]]
    pairs += [(packed["price"], arrays["price"]), (packed["features"]["stars"], arrays["features"]["stars"])]
    pairs += [(packed["embedding"], [x for row in arrays["embedding"] for x in row])]
    for text, numbers in pairs:
        assert floats(text) == pytest.approx(numbers, rel=1e-6)


@pytest.mark.parametrize("numbers", ["arrays", "base64"])
def test_what_some_candidates_lack_is_null_and_no_base64(numbers: Numbers) -> None:
    columns: Any = in_form(MIXED, "columns", numbers)
    assert columns["scores"]["cvr"] == [None, 0.5]
    assert columns["price"] == [None, 2.0]
    assert columns["embedding"] == [None, [1.0, 0.0]]
    assert columns["tags"] == {"t": [1, None]}
    assert columns["features"]["brand"] == ["b", None]
    assert columns["features"]["new"] == [True, None], "a flag is no number"
    assert (columns["features"]["stars"] == [4, 5]) == (numbers == "arrays")


def test_with_a_catalogue_only_ids_and_scores_are_sent() -> None:
    assert in_form(MIXED, "catalogue", "arrays") == {
        "id": ["a", "b"],
        "scores": {"ctr": [0.5, 0.25], "cvr": [None, 0.5]},
    }


@pytest.mark.parametrize("form", ["objects", "columns", "catalogue"])
def test_payloads_of_all_forms_are_of_the_same_candidates(tmp_path: Path, form: Form) -> None:
    asked = ("--items", "50", "--numbers", "arrays")
    objects, found = made(tmp_path, *asked), made(tmp_path, *asked, "--form", form)
    assert [payload.ids for payload in found] == [payload.ids for payload in objects]
    for payload, other in zip(found, objects, strict=True):
        body, want = json.loads(payload.body), json.loads(other.body)
        assert body.pop("candidates") == in_form(want.pop("candidates"), form, "arrays")
        assert body == want


def test_items_come_again_in_other_requests_and_are_the_same_there(tmp_path: Path) -> None:
    requests = [json.loads(payload.body)["candidates"] for payload in made(tmp_path, "--items", "25")]
    items: dict[str, Any] = {}
    for candidate in (c for candidates in requests for c in candidates):
        candidate.pop("scores")
        assert items.setdefault(candidate["id"], candidate) == candidate
    assert len(items) <= 25
    drawn = FakeItems(SPEC, 25, seed=0, embedding_width=WIDTH)
    assert {item["id"]: item for item in all_items(drawn)}.items() >= items.items()


def test_more_candidates_than_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--items: there are 7, fewer than the 20"):
        made(tmp_path, "--items", "7")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--form", "rows"), "--form: 'rows'"),
        (("--numbers", "float16"), "--numbers: 'float16'"),
        (("--items", "-1"), "--items"),
        (("--form", "catalogue", "--lists", "x.parquet"), "--lists"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, given: tuple[str, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        made(tmp_path, *given)


def test_the_command_writes_the_items_that_requests_of_its_seed_draw(tmp_path: Path) -> None:
    bundle, out = write_bundle_json(tmp_path), tmp_path / "items.parquet"
    given = ["--bundle", str(bundle), "--items", "30", "--embedding-width", str(WIDTH), "--seed", "5"]
    assert items_command.main([*given, "--out", str(out)]) == 0
    assert pq.read_table(out).to_pylist() == list(all_items(FakeItems(SPEC, 30, seed=5, embedding_width=WIDTH)))


def test_items_past_the_first_chunk_are_written_too(tmp_path: Path) -> None:
    out = tmp_path / "items.parquet"
    write_items(({"id": f"i{i}", "features": {"stars": i}} for i in range(20_001)), out)
    table = pq.read_table(out)
    assert table.num_rows == 20_001
    assert table.slice(20_000).to_pylist() == [{"id": "i20000", "features": {"stars": 20_000}}]
    with pytest.raises(ValueError, match="no items"):
        write_items([], out)
