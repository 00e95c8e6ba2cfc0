"""A body's cost is counted right, honest clients are never refused for it, and no body takes long."""

from __future__ import annotations

import base64
import json
import re
import time
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract import cost
from service.contract.candidates import candidate_table
from service.contract.cost import MOST_FIELDS, cost_over, most_fields
from service.contract.decoding import check_request, decode_request
from service.contract.problems import Problem
from tests.service.contract.bodies import LARGEST, compact, hostile, large_request

HOSTILE = hostile()
LARGEST_HONEST = compact(large_request(2000, 40, 0))
text = st.text(st.sampled_from('a:,"\\e19.-é\n'), max_size=12)
documents = st.recursive(
    st.none() | st.integers(-99, 99) | text,
    lambda inner: st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 65_536])
@settings(max_examples=40, deadline=None)
@given(document=documents, ascii_only=st.booleans(), long_text=st.sampled_from([1, 2, 3, 1024]))
def test_each_field_counts_one_and_text_counts_nothing(
    block: int, document: object, ascii_only: bool, long_text: int
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    fields = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", body).count(b":")
    with patch.object(cost, "_BLOCK", block), patch.object(cost, "_LONG_TEXT", long_text):
        assert cost_over(body, 0) == fields


@pytest.mark.parametrize("before", ["", "x", '","', '\\",', "é"])
def test_numbers_behind_a_long_text_are_counted(before: str) -> None:
    """Also behind texts with escapes, where a quote may be part of the text."""
    numbers = ",".join(["5e-324"] * 2000)
    for text in (before + "a" * 20_000, "a" * 20_000 + before, before.join(["b" * 9000] * 3)):
        assert cost_over(f'{{"a": {json.dumps(text)}, "b": [{numbers}], "c": "{"d" * 20_000}"}}'.encode(), 0) >= 200_000


def test_texts_of_base64_take_no_time() -> None:
    text = base64.b64encode(np.random.default_rng(0).bytes(LARGEST // 2)).decode()
    body = json.dumps({"candidates": {"id": ["a"], "embedding": text}}).encode()
    with patch.object(cost, "_count") as count:
        assert cost_over(body, MOST_FIELDS) == 0
    assert not count.called


@pytest.mark.parametrize(
    ("number", "counted"),
    [
        ("0.12345678901234567", 0),
        ("-0.00012345678901234567", 0),
        ("1.2345678901234567e-05", 0),
        ("1e-005", 0),
        ("2.5E+17", 0),
        ("0.33333333333333333333", 0),
        ("0.1000000000000000055511151231257827", 4),
        ("123456789012345678901", 4),
        ("1" * 64, 4),
        ("1" * 84, 4 + 10),
        ("5e-324", 100),
        ("1E300", 100),
        ("1E+300", 100),
        ("1e-0310", 100),
        ("8.6389702127764396166e-9", 100),
        ("12345678901234567890e5", 100),
    ],
)
def test_a_number_that_takes_long_to_read_counts_more(number: str, counted: int) -> None:
    assert cost_over(f'{{"a": {number}}}'.encode(), 0) == 1 + counted
    assert cost_over(f'{{"a": "{number}"}}'.encode(), 0) == 1
    assert cost_over(f"[{','.join([number] * 9)}]".encode(), 0) == 9 * counted + 1 + 2


def test_the_limit_grows_with_that_of_bytes() -> None:
    assert most_fields(LARGEST) == MOST_FIELDS == 104_857
    assert most_fields(2 * LARGEST) == 209_715
    assert most_fields(1024) == 16_384, "so many take no time"


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(
        st.text("0123456789", min_size=1, max_size=130)
        | st.sampled_from(["5e-324", "1.5", ":", ";", "0.12345678901234567", " ", "1E5"])
    ),
    start=st.integers(0, 7),
)
def test_the_rough_count_is_never_below_the_exact_one(pieces: list[str], start: int) -> None:
    body = (" " * start + ",".join(pieces)).encode()
    rough = 100 * cost._exponents_in(body) + sum(map(cost._most_others, cost._blocks(body)))
    assert rough >= sum(map(cost._count, cost._blocks(body)))


def test_what_honest_programs_write_is_counted_roughly_only() -> None:
    for candidates, width in ((200, 256), (100, 768), (20, 4096)):
        body = compact(large_request(candidates, 5, width))
        with patch.object(cost, "_count", return_value=MOST_FIELDS) as count:
            assert cost_over(body, MOST_FIELDS) == 0
        assert not count.called, width


@pytest.mark.parametrize("letter", ["e", "E"])
def test_slow_numbers_are_found_among_text_that_looks_like_them(letter: str) -> None:
    """Looks, each slower than the one before, end as soon as there cannot be too many."""
    names = ",".join(f'"{letter}{n}":0' for n in range(2000))
    assert cost_over(f"{{{names}}}".encode(), MOST_FIELDS) == 0
    numbers = ",".join([f"5{letter}-324"] * 1100)
    assert cost_over(f'{{{names},"":[{numbers}]}}'.encode(), MOST_FIELDS) > 110_000


@pytest.mark.parametrize(
    ("candidates", "features", "width"),
    [(100, 20, 64), (500, 20, 64), (2000, 40, 0), (2000, 5, 36), (100, 20, 768), (20, 5, 4096)],
)
def test_honest_requests_are_never_refused_for_their_cost(candidates: int, features: int, width: int) -> None:
    body = compact(large_request(candidates, features, width))
    assert len(body) <= LARGEST
    assert decode_request(body).candidate_count == candidates


@pytest.mark.parametrize("name", HOSTILE)
def test_no_body_takes_long(name: str) -> None:
    """None takes several times as long as the largest honest one, which is read beside it: machines differ."""
    honest: list[float] = []
    taken: list[float] = []
    for _ in range(3):
        assert decoded(LARGEST_HONEST, honest) == ""
        assert len(decoded(HOSTILE[name], taken)) < 600
    assert min(taken) < 6 * min(honest)


def decoded(body: bytes, seconds: list[float]) -> str:
    """The detail of the refusal, if it is refused; adds the processor's time that it took."""
    start = time.thread_time()
    try:
        request = decode_request(body)
        check_request(request, candidate_table(request), max_candidates=2000)
    except Problem as problem:
        return problem.detail
    finally:
        seconds.append(time.thread_time() - start)
    return ""
