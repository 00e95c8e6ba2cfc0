"""What is no JSON is a 400, whatever else is wrong with it, and the detail says why."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.batch import split_batch
from service.contract.decoding import decode_request
from service.contract.problems import Problem
from tests.service.contract.bodies import filled
from tests.service.contract.test_law import valid_requests
from tests.service.requests import request

LARGE = 300 * 1024
VALID = json.dumps(request(2), indent=1).encode()


def refused(body: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        decode_request(body)
    return caught.value


def assert_every_cut_is_malformed(body: bytes) -> None:
    for end in range(len(body.rstrip())):
        problem = refused(body[:end])
        assert (problem.kind.status, problem.kind.slug) == (400, "malformed-json"), body[:end]
        assert problem.detail


@pytest.mark.parametrize(
    "body",
    [
        VALID,
        json.dumps(request(1, surprise={"a": [1, {"b": None}]}), ensure_ascii=False).encode() + b" \n",
        json.dumps(request(1, top_n=0, request_id='é\U0001f600\\"')).encode(),
        b'{"top_n": 1.5, "user": {"a": [true, false, null, -1.5e-7, "\\u00e9\\n"]}}',
        b'[1, "two"]',
        b'"text"',
    ],
)
def test_a_body_cut_anywhere_is_malformed(body: bytes) -> None:
    assert_every_cut_is_malformed(body)


@settings(max_examples=10, deadline=None)
@given(sent=valid_requests, ascii_only=st.booleans())
def test_a_valid_request_cut_anywhere_is_malformed(sent: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps({**sent, "candidates": sent["candidates"][:3]}, ensure_ascii=ascii_only).encode()
    assert_every_cut_is_malformed(body)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_pythons_reader_refuses_is_malformed(data: st.DataObject) -> None:
    body = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body)))
        put = st.binary(max_size=2) | st.sampled_from(
            [b'"', b"{", b"]", b",", b":", b"NaN", b"\\u", b"01", b"-", b"null"]
        )
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(put)
    try:
        json.loads(bytes(body))
    except (json.JSONDecodeError, UnicodeDecodeError):
        assert refused(bytes(body)).kind.status == 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is empty"),
        (b" \r\n\t", "is empty"),
        (b"\xef\xbb\xbf" + VALID, "byte order mark"),
        (VALID.decode().encode("utf-16"), "UTF-16"),
        (VALID.decode().encode("utf-16-le"), "UTF-16"),
        (VALID.decode().encode("utf-32-be"), "UTF-32"),
        (b'{"model": "\xff"}', "not valid UTF-8 (byte 11)"),
        (b'{"model": "\xed\xa0\x80"}', "not valid UTF-8"),
        (b'{"surprise": "\\ud800"}', "surrogate"),
        (b'{"model": "\\udc00\\ud800"}', "surrogate"),
        (b'{"model": "\\ud800\\u0041", "top_n": NaN}', "surrogate"),
        (b'{"top_n": "\\ud83d', "truncated"),
        (b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b'{"user": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, "nested too deeply"),
        (b'{"top_n": 0, "user": {"a": NaN}, }', "invalid character (byte 27)"),
        (b'{"candidates": [NaN.5]}', "invalid character"),
        (b'{"model": "\\u123NaN"}', "malformed"),
        (b'{"model": "\\NaN"}', "malformed"),
        (b'{"top_n": 1NaN}', "malformed"),
        (b'{"top_n": -NaN}', "malformed"),
    ],
)
def test_the_detail_says_what_is_wrong(body: bytes, said: str) -> None:
    problem = refused(body)
    assert problem.kind.status == 400
    assert said in problem.detail


def large(end: bytes) -> bytes:
    return filled(b'{"candidates":[{"id":"a","scores":{', lambda i: b'"s%x":0.5' % i, end + b"}}]}", LARGE)


@pytest.mark.parametrize(
    ("end", "status", "field", "said"),
    [
        (b',"z":NaN', 422, "", "a number is NaN or infinite; numbers must be finite"),
        (b',"z":-Infinity', 422, "", "a number is NaN or infinite; numbers must be finite"),
        (b',"z":"x"', 422, "candidates[0].scores", "Expected float | null, got str"),
        (b',"z":1e999', 422, "candidates[0].scores", "out of range"),
        (b'},"price":-1,"features":{"a":1', 422, "candidates[0].price", ">= 0.0"),
        (b'},"colour":{"a":1', 422, "candidates[0].colour", "is not a known field"),
    ],
)
def test_in_a_large_body_no_wrong_field_is_named(end: bytes, status: int, field: str, said: str) -> None:
    problem = refused(large(end))
    assert (problem.kind.status, problem.errors[0].field) == (status, field)
    assert said in problem.detail
    assert ("not looked for in a body over 256 KiB" in problem.detail) == (field in ("", "candidates[0].scores"))


@pytest.mark.parametrize("end", [b',"z":NaN,', b',"z":"x"', b"},"])
def test_a_large_body_that_is_no_json_is_malformed(end: bytes) -> None:
    body = large(end)
    assert refused(body if end.endswith(b",") else body[:-1]).kind.status == 400


def test_an_unknown_field_that_looks_like_a_path_is_named_whole() -> None:
    assert refused(b'{"x - at `$.foo": 1}').errors[0].field == "x - at `$.foo"


def test_a_body_of_too_many_fields_is_refused_and_malformed_if_it_is_no_json() -> None:
    body = filled(b'{"user":{', b'"":0', b"}}", 700_000)
    problem = refused(body)
    assert problem.kind.slug == "invalid-request"
    assert "at most 104857 are allowed" in problem.detail
    assert refused(body[:-1]).kind.slug == "malformed-json"


@pytest.mark.parametrize("sent", [b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_text_that_is_not_utf8_is_malformed_where_nobody_reads_it(sent: bytes) -> None:
    unread = b'{"candidates": [{"id": "a", "scores": {}, "embedding": "@"}]}'.replace(b"@", sent)
    columns = b'{"candidates": {"id": ["a"], "scores": {}, "embedding": ["@"]}}'.replace(b"@", sent)
    for body in (unread, columns):
        assert refused(body).kind.slug == "malformed-json"
        assert "not valid UTF-8" in refused(body).detail
        with pytest.raises(Problem, match="not valid UTF-8"):
            split_batch(b'{"requests": [%b]}' % body)


@pytest.mark.parametrize(
    "body",
    [
        '{"a": "\\ud800", "n": @digits, "d": @nested}',
        '{"a": NaN, "n": @digits, "d": @nested}',
        '{"candidates": {"id": ["a"], "scores": {"ctr": ["x"]}, "embedding": [@nested]}}',
        '{"candidates": [{"id": "a", "scores": {"ctr": "x"}, "embedding": @nested}]}',
        '{"user": {"a": @nested}}',
    ],
)
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "1}")])
def test_no_depth_is_too_deep_for_a_refusal(body: str, brackets: tuple[str, str]) -> None:
    # How deep a reader gets depends on the frames below it, so all depths around the limit are tried.
    for depth in range(sys.getrecursionlimit() - 150, sys.getrecursionlimit() + 10):
        nested = brackets[0] * depth + brackets[1] * depth
        sent = body.replace("@digits", "9" * 4301).replace("@nested", nested).encode()
        assert refused(sent).kind.status in (400, 422)
        with pytest.raises(Problem):
            split_batch(b'{"requests": [%b], "x": 1}' % sent)
