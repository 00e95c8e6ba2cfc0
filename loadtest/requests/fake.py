"""Make up plausible requests for a bundle, with every field of its spec.

Vocabulary values are drawn evenly, id-like fields from as many ids as there are buckets, and numbers normally around
the spec's mean and deviation with the field's transform undone (so probabilities are logit-normal and prices
log-normal where the spec says so). The values of one field are independent of another's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from models.contract.spec import Category, FeatureSpec, Field, Hashed, Number

_DIGITS: Final = 6
_UNSCALED_SCORE: Final = Number(name="ctr", mean=-3.0, std=1.0, transform="logit")


class FieldDraws:
    """Draw values of fields with one generator."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator

    def value(self, field: Field) -> str | float:
        """Draw a value of a field of features or scores."""
        if isinstance(field, Category):
            return self._random.choice(field.vocabulary) if field.vocabulary else "unknown"
        if isinstance(field, Hashed):
            return f"{field.name}-{self._random.randrange(field.buckets)}"
        return round(self._number(field), _DIGITS)

    def price(self, field: Number) -> float:
        """Draw a price, to the cent."""
        return round(max(self._number(field), 0.0), 2)

    def embedding(self, width: int) -> list[float]:
        """Draw a direction."""
        row = [self._random.gauss(0.0, 1.0) for _ in range(width)]
        length = math.hypot(*row)
        return [round(x / length, _DIGITS) for x in row]

    def _number(self, field: Number) -> float:
        # Two deviations at most: a request with an outlier in every tenth field would not be plausible.
        z = min(max(self._random.gauss(0.0, 1.0), -2.0), 2.0)
        x = field.mean + field.std * z
        if field.transform == "logit":
            return float(1.0 / (1.0 + np.exp(-x)))
        return float(np.expm1(x)) if field.transform == "log1p" else x


class FakeItems:
    """Make up `count` items of one spec.

    An item is the same whenever it is asked for, given the seed.
    """

    def __init__(self, spec: FeatureSpec, count: int, *, seed: int, embedding_width: int = 0) -> None:
        self._spec = spec
        self._seed = seed
        self._width = embedding_width
        self.count = count

    def item(self, number: int) -> dict[str, Any]:
        """Make up what is known of an item: a candidate without its scores."""
        draws = FieldDraws(random.Random((self._seed << 32) + number))
        item: dict[str, Any] = {
            "id": f"item-{number:08d}",
            "features": {f.name: draws.value(f) for f in self._spec.item},
        }
        if self._spec.price is not None:
            item["price"] = draws.price(self._spec.price)
        if self._width:
            item["embedding"] = draws.embedding(self._width)
        return item


class FakeRequests:
    """Draw request bodies (plain JSON types) for one spec. Not thread-safe.

    Their candidates are drawn from `items`, where there are any, or made up each time.
    """

    def __init__(
        self, spec: FeatureSpec, *, seed: int, embedding_width: int = 0, items: FakeItems | None = None
    ) -> None:
        self._spec = spec
        self._width = embedding_width
        self._random = random.Random(seed)
        self._draws = FieldDraws(self._random)
        self._numpy = np.random.default_rng(seed)
        self._scores: Sequence[Number] = spec.scores or (_UNSCALED_SCORE,)
        self._items = items

    def request(self, candidates: int) -> dict[str, Any]:
        """Draw one request with so many candidates, all ids different.

        Raises `ValueError` if there are fewer items.
        """
        draw = self._draws.value
        user = {f.name: draw(f) for f in self._spec.user}
        context = {f.name: draw(f) for f in self._spec.context}
        return {"user": user, "context": context, "candidates": self._candidates(candidates)}

    def _candidates(self, count: int) -> list[dict[str, Any]]:
        items = self._items
        if items is None:
            embeddings = self._embeddings(count)
            return [self._candidate(place, embeddings[place]) for place in range(count)]
        if count > items.count:
            raise ValueError(f"--items: there are {items.count}, fewer than the {count} candidates asked for")
        return [self._with_scores(items.item(number)) for number in self._random.sample(range(items.count), count)]

    def _candidate(self, place: int, embedding: list[float]) -> dict[str, Any]:
        draws = self._draws
        candidate: dict[str, Any] = {
            "id": f"item-{place:05d}-{self._random.randrange(10**6):06d}",
            "scores": {f.name: draws.value(f) for f in self._scores},
            "features": {f.name: draws.value(f) for f in self._spec.item},
        }
        if self._spec.price is not None:
            candidate["price"] = draws.price(self._spec.price)
        if embedding:
            candidate["embedding"] = embedding
        return candidate

    def _with_scores(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"id": item.pop("id"), "scores": {f.name: self._draws.value(f) for f in self._scores}, **item}

    def _embeddings(self, candidates: int) -> list[list[float]]:
        rows = self._numpy.standard_normal((candidates, self._width))
        if self._width:
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return [[round(x, _DIGITS) for x in row] for row in rows.tolist()]
