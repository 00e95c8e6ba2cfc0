"""Make up plausible requests for a bundle, with every field of its spec.

Vocabulary values are drawn evenly, id-like fields from as many ids as there are buckets, and numbers normally around
the spec's mean and deviation with the field's transform undone (so probabilities are logit-normal and prices
log-normal where the spec says so). The values of one field are independent of another's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from models.contract.spec import Category, FeatureSpec, Field, Hashed, Number

_DIGITS: Final = 6
_UNSCALED_SCORE: Final = Number(name="ctr", mean=-3.0, std=1.0, transform="logit")


class FakeRequests:
    """Draw request bodies (plain JSON types) for one spec. Not thread-safe."""

    def __init__(self, spec: FeatureSpec, *, seed: int, embedding_width: int = 0) -> None:
        self._spec = spec
        self._width = embedding_width
        self._random = random.Random(seed)
        self._numpy = np.random.default_rng(seed)
        self._scores: Sequence[Number] = spec.scores or (_UNSCALED_SCORE,)

    def request(self, candidates: int) -> dict[str, Any]:
        """Draw one request with so many candidates, all ids different."""
        embeddings = self._embeddings(candidates)
        return {
            "user": {f.name: self._value(f) for f in self._spec.user},
            "context": {f.name: self._value(f) for f in self._spec.context},
            "candidates": [self._candidate(i, embeddings[i]) for i in range(candidates)],
        }

    def _candidate(self, place: int, embedding: list[float]) -> dict[str, Any]:
        candidate: dict[str, Any] = {
            "id": f"item-{place:05d}-{self._random.randrange(10**6):06d}",
            "scores": {f.name: self._value(f) for f in self._scores},
            "features": {f.name: self._value(f) for f in self._spec.item},
        }
        if self._spec.price is not None:
            candidate["price"] = round(max(self._number(self._spec.price), 0.0), 2)
        if embedding:
            candidate["embedding"] = embedding
        return candidate

    def _value(self, field: Field) -> str | float:
        if isinstance(field, Category):
            return self._random.choice(field.vocabulary) if field.vocabulary else "unknown"
        if isinstance(field, Hashed):
            return f"{field.name}-{self._random.randrange(field.buckets)}"
        return round(self._number(field), _DIGITS)

    def _number(self, field: Number) -> float:
        # Two deviations at most: a request with an outlier in every tenth field would not be plausible.
        z = min(max(self._random.gauss(0.0, 1.0), -2.0), 2.0)
        x = field.mean + field.std * z
        if field.transform == "logit":
            return float(1.0 / (1.0 + np.exp(-x)))
        return float(np.expm1(x)) if field.transform == "log1p" else x

    def _embeddings(self, candidates: int) -> list[list[float]]:
        rows = self._numpy.standard_normal((candidates, self._width))
        if self._width:
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return [[round(x, _DIGITS) for x in row] for row in rows.tolist()]
