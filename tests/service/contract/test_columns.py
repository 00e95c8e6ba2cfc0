"""Candidates as columns get the list of the same candidates as objects; what is wrong with a column is named."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from models.contract.candidates import ObjectTable
from models.contract.column_table import ColumnTable
from models.contract.features import Encoder
from service.contract.candidates import candidate_table
from service.contract.column_schemas import MOST_COLUMNS
from service.contract.decoding import decode_request
from service.contract.field_values import FieldReader
from service.contract.problems import Problem
from tests.models.contract.columns import column_data
from tests.service.contract.test_bad_input import assert_problem
from tests.service.contract.test_field_values import Case, cases
from tests.service.contract.test_law import relaxed, valid_requests
from tests.service.live import WAIT_SECONDS, Live
from tests.service.requests import as_columns, check_list, float32, request
from tests.service.tiny_bundle import Options, make_manifest

NAN = float("nan")


def same(of_columns: Any, of_objects: Any) -> bool:
    """Whether two answers have the same list; base64 rounds numbers to float32."""
    return [item["id"] for item in of_columns["items"]] == [item["id"] for item in of_objects["items"]] and of_columns[
        "value"
    ] == pytest.approx(of_objects["value"], rel=1e-5)


def changed(**columns: Any) -> dict[str, Any]:
    """A request of 8 candidates as columns, some of which are others."""
    sent = as_columns(request())
    sent["candidates"] |= columns
    return sent


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("n", [1, 8, 60])
def test_columns_get_the_list_of_objects(any_server: Live, n: int, packed: bool) -> None:
    sent = request(n, explain=True)
    reply = any_server.post(as_columns(sent, packed=packed))
    assert reply.status == 200, reply.body
    assert same(reply.json, any_server.post(sent).json)
    assert any_server.records[-1].candidates == n


@relaxed
@given(sent=valid_requests)
def test_every_valid_request_as_columns_gets_the_list_of_its_objects(server: Live, sent: dict[str, Any]) -> None:
    reply, expected = server.post(as_columns(sent)).json, server.post(sent).json
    check_list(sent, reply)
    assert (reply["items"], reply["value"], reply.get("warnings")) == (
        expected["items"],
        expected["value"],
        expected.get("warnings"),
    )


def test_rules_read_columns_too(ruled_server: Live) -> None:
    sent = request(
        rules={"caps": [{"by": "source", "limit": 1}], "boosts": [{"where": {"brand": "b3"}, "factor": 3}]},
        shown=["old"],
        shown_items=[{"id": "old", "embedding": [1.0, 0.0, 0.0, 0.0]}],
    )
    for i, made in enumerate(sent["candidates"]):
        made["tags"] = {"source": "new" if i % 2 else "old"}
    for packed in (False, True):
        assert same(ruled_server.post(as_columns(sent, packed=packed)).json, ruled_server.post(sent).json)


def test_batches_and_objects_beside_columns(server: Live) -> None:
    sent = request()
    body = json.dumps({"requests": [sent, as_columns(sent, packed=True), changed(price=[1.0])]}).encode()
    deadline = time.monotonic() + WAIT_SECONDS
    while True:  # A busy machine may have no place for a batch.
        reply = server.request("POST", "/v1/rerank/batch", body, {"Content-Type": "application/json"})
        if reply.status != 503:
            break
        assert time.monotonic() < deadline
    first, second, third = reply.json["results"]
    assert same(second["response"], first["response"])
    assert third["problem"]["detail"] == "candidates.price: has 1 values, but candidates.id has 8"


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_the_use_of_columns_is_that_of_objects(case: Case) -> None:
    spec, user, context, chosen = case
    encoder = Encoder(spec)
    reader = FieldReader(make_manifest(Options(spec=spec)), encoder)
    places = np.arange(len(chosen))
    found: list[Any] = []
    for table in (ObjectTable(chosen), ColumnTable(column_data(chosen, arrays=True))):
        row = encoder.encode_user(user, context) | encoder.encode_slots(table, places)
        use = reader.read(user, context, table, places, row, ("margin",))
        gaps = [(gap.field.path, list(gap.values), gap.missing, gap.unknown) for gap in use.gaps]
        found.append((use.counts.counts.tolist(), gaps, use.surplus))
    assert found[0] == found[1]


def test_columns_that_are_null_or_left_out_are_missing() -> None:
    for more in (
        b'"scores":{}',
        b'"scores":{"x":[null]}',
        b'"scores":{"ctr":null},"price":null,"features":null,"tags":null,"embedding":null',
        b'"scores":{},"price":[null],"features":{"x":null},"tags":{"x":null},"embedding":[null]',
    ):
        table = candidate_table(decode_request(b'{"candidates":{"id":["a"],%b}}' % more))
        assert (table.ids, list(table.score_names()), table.tags("x")) == (["a"], [], [None])
        assert np.isnan([table.score("ctr"), table.prices()]).all()
        assert not table.has_embeddings(np.array([0]))


EIGHT = [0.1] * 8


@pytest.mark.parametrize(
    ("field", "said", "sent"),
    [
        ("candidates.scores.ctr", "has 7 values, but candidates.id has 8", changed(scores={"ctr": [0.1] * 7})),
        ("candidates.scores.ctr", "has 9 values, but", changed(scores={"ctr": float32([0.1] * 9)})),
        ("candidates.price", "has 1 values, but candidates.id has 8", changed(price=[1.0])),
        ("candidates.features.stars", "has 0 values, but", changed(features={"stars": []})),
        ("candidates.features.stars", "has 1 values, but", changed(features={"stars": float32([1])})),
        ("candidates.tags.brand", "has 2 values, but", changed(tags={"brand": ["a", "b"]})),
        ("candidates.embedding", "has 1 values, but candidates.id has 8", changed(embedding=[[1.0]])),
        ("candidates.embedding", "has 9 numbers; a multiple of 8", changed(embedding=float32([1] * 9))),
        ("candidates.embedding", "has 0 numbers; a multiple of 8", changed(embedding="")),
        ("candidates.embedding", "at most 4096 for each", changed(embedding=float32([1] * 8 * 4097))),
        ("candidates.scores.ctr", "Invalid base64 encoded string", changed(scores={"ctr": "not base64"})),
        ("candidates.scores.ctr", "base64 of 31 bytes", changed(scores={"ctr": float32([0.1] * 8)[:-4] + "zA=="})),
        ("candidates.features.stars", "Invalid base64 encoded string", changed(features={"stars": "AAAAAA"})),
        ("candidates.price", "Invalid base64 encoded string", changed(price="AAAA AAA=")),
        ("candidates.embedding", "Invalid base64 encoded string", changed(embedding="AAA-")),
        ("candidates.scores.ctr[5]", "is NaN; numbers must", changed(scores={"ctr": float32([*EIGHT[:5], NAN, 1, 1])})),
        ("candidates.price[2]", "is Infinity; numbers must", changed(price=float32([1, 1, np.inf, 1, 1, 1, 1, 1]))),
        ("candidates.price[2]", "Expected float >= 0.0", changed(price=float32([1, 1, -1, 1, 1, 1, 1, 1]))),
        ("candidates.price[2]", "Expected float >= 0.0", changed(price=[1, 1, -1, 1, 1, 1, 1, 1])),
        ("candidates.price[2]", "Expected float <= 1000000000000.0", changed(price=float32([1, 1, 2e12] + [1] * 5))),
        ("candidates.price[2]", "Expected float <= 1000000000000.0", changed(price=[1, 1, 2e12, 1, 1, 1, 1, 1])),
        ("candidates.features.stars[7]", "is NaN", changed(features={"stars": float32([1] * 7 + [NAN])})),
        ("candidates.embedding[3][1]", "is NaN", changed(embedding=float32([1] * 7 + [NAN] + [1] * 8))),
        ("candidates.scores.ctr[5]", "must be a probability", changed(scores={"ctr": [*EIGHT[:5], 1.5, 0.1, 0.1]})),
        ("candidates.scores.ctr[1]", "Expected float | null, got str", changed(scores={"cvr": EIGHT, "ctr": [1, "x"]})),
        ("candidates.scores.ctr[1]", "Expected float | null, got bool", changed(scores={"ctr": [1, True]})),
        ("candidates.scores.ctr", "Expected base64 | array | null, got int", changed(scores={"ctr": 1})),
        ("candidates.scores.ctr", "got object", changed(scores={"ctr": {}})),
        ("candidates.scores", "is null, which means missing; it is required", changed(scores=None)),
        ("candidates.features.brand[1]", "got array", changed(features={"brand": ["a", []]})),
        ("candidates.features.stars[2]", "must be a number", changed(features={"stars": [1, 2, "x", 4, 5, 6, 7, 8]})),
        ("candidates.tags.brand", "Expected array", changed(tags={"brand": "AAAA"})),
        ("candidates.embedding[2]", "array of length >= 1", changed(embedding=[[1], [1], [], *[None] * 5])),
        ("candidates.embedding[2][0]", "Expected float, got str", changed(embedding=[[1], [1], ["x"], *[None] * 5])),
        ("candidates.embedding[2]", "got int", changed(embedding=[[1], [1], 3, *[None] * 5])),
        (
            "candidates.embedding[2]",
            "has 2 numbers, but that of candidates[0] has 1",
            changed(embedding=[[1], [1], [1, 2], *[None] * 5]),
        ),
        ("candidates.id[1]", 'must be a string, not a number: put it in quotes, as "7"', changed(id=["a", 7])),
        ("candidates.id[1]", "is null, which means missing; it is required", changed(id=["a", None])),
        ("candidates.id[1]", "length >= 1", changed(id=["a", ""])),
        ("candidates.id[1]", "length <= 256", changed(id=["a", "b" * 257])),
        ("candidates.id[1]", "'a' is also the id of candidates[0]", changed(id=["a", "a", *"bcdefg"])),
        ("candidates.id", "length >= 1", changed(id=[])),
        ("candidates.id", "is missing", {"candidates": {"scores": {}}}),
        ("candidates.scores", "is missing", {"candidates": {"id": ["a"]}}),
        ("candidates.colour", "is not a known field", changed(colour=["red"])),
        ("candidates", "at most 2000 are allowed", as_columns(request(2001))),
        ("candidates", "got str", {"candidates": "AAAA"}),
    ],
)
def test_what_is_wrong_with_a_column_is_named(any_server: Live, field: str, said: str, sent: dict[str, Any]) -> None:
    assert_problem(any_server.post(sent), 422, "invalid-request", field, said)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
@pytest.mark.parametrize(
    ("field", "columns"),
    [
        ("candidates.scores.ctr[1]", {"scores": {"ctr": [1, "@"]}}),
        ("candidates.price[1]", {"price": [1, "@"]}),
        ("candidates.features.stars[1]", {"features": {"stars": [1, "@"]}}),
        ("candidates.embedding[1][2]", {"embedding": [[1, 2, 3], [1, 2, "@"], *[None] * 6]}),
    ],
)
def test_a_number_that_is_not_finite_is_named(server: Live, field: str, columns: dict[str, Any], number: str) -> None:
    body = json.dumps(changed(**columns)).replace('"@"', number).encode()
    assert_problem(server.post(body), 422, "invalid-request", field)


def test_a_wrong_value_is_named_in_a_body_of_any_size(server: Live) -> None:
    sent = changed(embedding=float32([1] * 8 * 4096), features={"first": EIGHT, "second": [1, {}]})
    assert_problem(server.post(sent), 422, "invalid-request", "candidates.features.second[1]", "got object")


def test_a_refused_value_before_a_repeated_key_is_still_422(server: Live) -> None:
    for end in (
        b'"ctr": [1]}}}',
        b'"cvr": [1]}, "scores": {}}}',
        b'"cvr": [1]}, "scores": 3}}',
        b'"cvr": [1]}}, "candidates": []}',
        b'"cvr": [1]}}, "candidates": {}}',
    ):
        body = b'{"candidates": {"id": ["a"], "scores": {"ctr": ["x"], ' + end
        assert_problem(server.post(body), 422, "invalid-request", "candidates.scores")


def test_too_many_columns_are_refused() -> None:
    scores = {f"s{i}": [1] for i in range(MOST_COLUMNS)}
    allowed = {"candidates": {"id": ["a"], "scores": scores}}
    assert len(candidate_table(decode_request(json.dumps(allowed).encode()))) == 1
    allowed["candidates"]["tags"] = {"x": ["a"]}
    with pytest.raises(Problem, match="has 4097 columns; at most 4096 are allowed"):
        candidate_table(decode_request(json.dumps(allowed).encode()))
