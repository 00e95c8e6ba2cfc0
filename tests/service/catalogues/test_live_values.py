"""Live values are held to the bounds of requests: what a request could not say is refused."""

from __future__ import annotations

import pytest

from models.contract.scalars import Scalar
from service.catalogues.live_values import LONGEST, PRICE, field_column, spec_columns
from tests.service.tiny_bundle import SPEC

NUMBER, ANY = field_column("stars", number=True), field_column("category", number=False)


def test_every_item_field_of_the_spec_has_a_column_of_its_kind() -> None:
    assert {name: (c.key, c.kind) for name, c in spec_columns(SPEC).items()} == {
        "category": ("features:category", "any"),
        "brand": ("features:brand", "any"),
        "stars": ("features:stars", "number"),
    }


@pytest.mark.parametrize(
    ("raw", "value"),
    [("12.5", 12.5), ("7", 7), ("0", 0), ("1e3", 1000.0), ("true", True), ("null", None)],
)
def test_numbers_are_read(raw: str, value: Scalar) -> None:
    assert NUMBER.decode(raw.encode()) == value
    assert ANY.decode(raw.encode()) == value


def test_texts_are_json_strings() -> None:
    assert ANY.decode('"Größe L"'.encode()) == "Größe L"
    with pytest.raises(ValueError, match="malformed"):
        ANY.decode(b"shoes")


GARBAGE = [
    b"",
    b"NaN",
    b"inf",
    b"-Infinity",
    b"1e999",
    b"0x10",
    b"1_000",
    b"12.5 EUR",
    b"[1]",
    b"{}",
    b"\xff",
    b'"\xff"',
]


@pytest.mark.parametrize("raw", [*GARBAGE, b"9" * 40, b'"' + b"x" * LONGEST + b'"', b"1" * (8 << 20)])
def test_garbage_is_refused_everywhere(raw: bytes) -> None:
    for column in (PRICE, NUMBER, ANY):
        with pytest.raises(ValueError, match=r"\w"):
            column.decode(raw)


@pytest.mark.parametrize("raw", [b"-0.01", b"1.1e12", b"true", b'"5"'])
def test_a_price_has_the_bounds_of_a_request(raw: bytes) -> None:
    with pytest.raises(ValueError, match="Expected"):
        PRICE.decode(raw)
    assert PRICE.decode(b"1e12") == 1e12
    assert PRICE.decode(b"null") is None


def test_many_are_decoded_as_each_alone() -> None:
    raws = [b"1", None, b" 2.5 ", b"null", b"0"]
    for column in (PRICE, NUMBER, ANY):
        assert column.decode_all(raws) == [1, None, 2.5, None, 0]
        assert column.decode_all([]) == []


@pytest.mark.parametrize(
    "raws",
    [
        *([b"1", raw] for raw in GARBAGE),
        [b"1,2"],
        [b"1,2", b""],
        [b"[1", b"2]"],
        [b"1]", b"[2"],
        [b"1,2", b'"a', b'b"'],
        [b"1", b",2"],
        [b"1" * (LONGEST + 1)],
    ],
)
def test_none_of_many_is_taken_for_another(raws: list[bytes | None]) -> None:
    for column in (PRICE, NUMBER, ANY):
        with pytest.raises(ValueError, match=r"\w"):
            column.decode_all(raws)


def test_a_field_of_numbers_takes_no_text() -> None:
    with pytest.raises(ValueError, match="Expected"):
        NUMBER.decode(b'"5"')
