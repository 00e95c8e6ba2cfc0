"""Make a request that a bundle can answer, from its manifest alone."""

from __future__ import annotations

from typing import Any, Final

from models.contract.features import Scalar
from models.contract.formulas import compile_formula
from models.contract.manifest import Manifest
from models.contract.spec import Category, Field, Hashed
from service.contract.field_values import NOT_SCORES

CANDIDATES: Final = 100
"""Number of candidates in the request."""


def example_request(manifest: Manifest, *, candidates: int = CANDIDATES, explain: bool = True) -> dict[str, Any]:
    """Make a request with every field, score and embedding that the bundle names.

    The model knows all values in it, so its answer carries no warnings.
    """
    spec = manifest.spec
    formulas = [q.score for q in manifest.queues] + [manifest.fallback]
    named = {name for text in formulas for name in compile_formula(text).names} - NOT_SCORES
    scores = sorted(named | {f.name for f in spec.scores})
    return {
        "user": {f.name: _value(f) for f in spec.user},
        "context": {f.name: _value(f) for f in spec.context},
        "candidates": [
            {
                "id": str(i),
                "scores": dict.fromkeys(scores, (i + 1) / (candidates + 1)),
                "price": 10.0 + i,
                "features": {f.name: _value(f, i) for f in spec.item},
                "embedding": [1.0, float(i % 7), float(i % 11)],
            }
            for i in range(candidates)
        ],
        "top_n": min(manifest.limits.list_length + 1, candidates),
        "explain": explain,
    }


def _value(field: Field, i: int = 0) -> Scalar:
    if isinstance(field, Category):
        return field.vocabulary[i % len(field.vocabulary)] if field.vocabulary else None
    return f"id-{i}" if isinstance(field, Hashed) else field.default
