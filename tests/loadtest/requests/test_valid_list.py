"""The check that every load-tested list is valid accepts valid lists and names what is wrong with others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.requests.payloads import Payload, list_problem

IDS = ("a", "b", "c", "d")
PAYLOAD = Payload(b"", IDS, 3)


def _answer(indices: list[int], first: int = 1) -> list[dict[str, Any]]:
    return [{"id": IDS[i], "index": i, "position": first + p} for p, i in enumerate(indices)]


@given(order=st.permutations(range(4)))
def test_any_choice_of_different_candidates_is_valid(order: list[int]) -> None:
    assert list_problem(PAYLOAD, json.dumps({"items": _answer(order[:3])}).encode()) is None


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (_answer([0, 1]), "has 2 items instead of 3"),
        (_answer([0, 1, 2, 3]), "has 4 items instead of 3"),
        (_answer([0, 1, 0]), "an id twice"),
        ([*_answer([0, 1]), {"id": "z", "index": 2, "position": 3}], "not the request's"),
        ([*_answer([0, 1]), {"id": "c", "index": 3, "position": 3}], "not the request's"),
        ([*_answer([0, 1]), {"id": "c", "index": 9, "position": 3}], "not the request's"),
        ([*_answer([0, 1]), {"id": "c", "index": -2, "position": 3}], "not the request's"),
        ([*_answer([0, 1]), {"id": "c", "index": 2, "position": 7}], "do not count up"),
        ([{"id": "a"}], "is not a response"),
    ],
)
def test_an_invalid_list_is_named(items: list[dict[str, Any]], problem: str) -> None:
    assert problem in str(list_problem(PAYLOAD, json.dumps({"items": items}).encode()))


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"items": "none"}', b"\xff"])
def test_a_body_that_is_no_list_is_named(body: bytes) -> None:
    assert "is not a response" in str(list_problem(PAYLOAD, body))
