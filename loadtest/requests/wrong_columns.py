"""Spoil the columns of a request in known ways, and name the wrong field."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from loadtest.requests.forms import Columns

Spoil = Callable[[random.Random, Columns], str]
"""Spoils columns in place, and returns the path of the wrong field."""


def _numbers(column: list[Any] | str, rows: int) -> list[float]:
    """Return the numbers of a column in any form; a missing one is 0.5."""
    if isinstance(column, str):
        return [float(x) for x in np.frombuffer(base64.b64decode(column), "<f4")]
    return [0.5 if x is None else float(x) for x in column[:rows]]


def _pack(numbers: list[float]) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode("ascii")


def _any_score(rng: random.Random, columns: Columns) -> tuple[str, list[float]]:
    name = rng.choice(sorted(columns["scores"]))
    return name, _numbers(columns["scores"][name], len(columns["id"]))


def _short(rng: random.Random, columns: Columns) -> str:
    name, numbers = _any_score(rng, columns)
    columns["scores"][name] = numbers[:-1]
    return f"candidates.scores.{name}"


def _short_base64(rng: random.Random, columns: Columns) -> str:
    name, numbers = _any_score(rng, columns)
    columns["scores"][name] = _pack([*numbers, 0.5])
    return f"candidates.scores.{name}"


def _no_base64(rng: random.Random, columns: Columns) -> str:
    name, numbers = _any_score(rng, columns)
    columns["scores"][name] = _pack(numbers)[:-1] + "!"
    return f"candidates.scores.{name}"


def _not_finite(rng: random.Random, columns: Columns) -> str:
    name, numbers = _any_score(rng, columns)
    place = rng.randrange(len(numbers))
    numbers[place] = rng.choice((float("nan"), float("inf"), float("-inf")))
    columns["scores"][name] = _pack(numbers)
    return f"candidates.scores.{name}[{place}]"


def _text(rng: random.Random, columns: Columns) -> str:
    name, numbers = _any_score(rng, columns)
    place = rng.randrange(len(numbers))
    columns["scores"][name] = [*numbers[:place], "0.5", *numbers[place + 1 :]]
    return f"candidates.scores.{name}[{place}]"


def _price(rng: random.Random, columns: Columns) -> str:
    numbers = [1.0] * len(columns["id"])
    place = rng.randrange(len(numbers))
    numbers[place] = -1.0
    columns["price"] = _pack(numbers) if rng.random() < 0.5 else numbers
    return f"candidates.price[{place}]"


def _same_id(rng: random.Random, columns: Columns) -> str:
    ids = columns["id"]
    columns["id"] = [*ids, rng.choice(ids)]
    for name in columns["scores"]:
        columns["scores"][name] = [*_numbers(columns["scores"][name], len(ids)), 0.5]
    for name in ("price", "embedding", "features", "tags"):
        columns.pop(name, None)
    return f"candidates.id[{len(ids)}]"


def _no_id(rng: random.Random, columns: Columns) -> str:
    place = rng.randrange(len(columns["id"]))
    columns["id"][place] = rng.choice((7, "", None))
    return f"candidates.id[{place}]"


def _embedding(rng: random.Random, columns: Columns) -> str:  # noqa: ARG001 - as all of them
    columns["embedding"] = _pack([0.5] * (2 * len(columns["id"]) + 1))
    if len(columns["id"]) == 1:
        columns["embedding"] = ""  # Any number of numbers is a width for one.
    return "candidates.embedding"


def _unknown(rng: random.Random, columns: Columns) -> str:  # noqa: ARG001 - as all of them
    columns["colour"] = ["red"] * len(columns["id"])
    return "candidates.colour"


SPOILS: Final[Mapping[str, Spoil]] = {
    "a short column": _short,
    "base64 of another length": _short_base64,
    "no base64": _no_base64,
    "a number that is not finite": _not_finite,
    "a text among numbers": _text,
    "a price below zero": _price,
    "an id twice": _same_id,
    "a wrong id": _no_id,
    "embeddings of no width": _embedding,
    "an unknown column": _unknown,
}
"""What is wrong, to what makes it so."""
