"""Make a request that a bundle can answer, from its manifest alone."""

from __future__ import annotations

from typing import Any, Final

from models.contract.features import Scalar
from models.contract.formulas import compile_formula
from models.contract.manifest import Manifest
from models.contract.spec import Category, Field, Hashed

CANDIDATES: Final = 100
"""Number of candidates in the request."""

_NOT_SCORES: Final = frozenset(("alpha", "beta", "gamma", "price"))


def example_request(manifest: Manifest) -> dict[str, Any]:
    """Make a request with every field, score and embedding that the bundle names."""
    spec = manifest.spec
    formulas = [q.score for q in manifest.queues] + [manifest.fallback]
    named = {name for text in formulas for name in compile_formula(text).names} - _NOT_SCORES
    scores = sorted(named | {f.name for f in spec.scores})
    features = {f.name: _value(f) for f in spec.item}
    return {
        "user": {f.name: _value(f) for f in spec.user},
        "context": {f.name: _value(f) for f in spec.context},
        "candidates": [
            {
                "id": str(i),
                "scores": dict.fromkeys(scores, (i + 1) / (CANDIDATES + 1)),
                "price": 10.0 + i,
                "features": features,
                "embedding": [1.0, float(i % 7), float(i % 11)],
            }
            for i in range(CANDIDATES)
        ],
        "top_n": min(manifest.limits.list_length + 1, CANDIDATES),
        "explain": True,
    }


def _value(field: Field) -> Scalar:
    if isinstance(field, Category):
        return field.vocabulary[0] if field.vocabulary else None
    return "warm-up" if isinstance(field, Hashed) else field.default
