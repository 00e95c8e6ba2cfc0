"""Show what requests, answers and problems look like.

The OpenAPI document carries them, and tests send the requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SMALLEST_REQUEST: Final[dict[str, Any]] = {
    "candidates": [{"id": "a", "scores": {"ctr": 0.10, "cvr": 0.02}}, {"id": "b", "scores": {"ctr": 0.20, "cvr": 0.01}}]
}
EXAMPLE_REQUEST: Final[dict[str, Any]] = {
    "request_id": "r-1",
    "candidates": [
        {"id": "sku-1", "scores": {"ctr": 0.12, "cvr": 0.03}, "price": 59.0, "embedding": [0.1, -0.2]},
        {"id": "sku-2", "scores": {"ctr": 0.07, "cvr": 0.08}, "price": 24.5, "embedding": [0.4, 0.1]},
        {"id": "sku-3", "scores": {"ctr": 0.11, "cvr": 0.01}, "price": 120.0, "embedding": [0.1, -0.1]},
    ],
    "top_n": 2,
    "objectives": {"click": 5, "conversion": 1, "gmv": 1},
    "diversity": {"lambda": 0.8, "window": 4},
    "queues": [{"name": "click", "score": "ctr"}, {"name": "gmv", "score": "ctr*cvr*price"}],
    "partition": "bfs",
    "explain": False,
}
COLUMNS_REQUEST: Final[dict[str, Any]] = {
    "request_id": "r-1",
    "candidates": {
        "id": ["sku-1", "sku-2", "sku-3"],
        "scores": {"ctr": "j8L1PSlcjz2uR+E9", "cvr": [0.03, 0.08, 0.01]},
        "price": [59.0, 24.5, None],
        "features": {"category": ["c1", "c1", "c4"]},
        "embedding": "zczMPc3MTL7NzMw+zczMPc3MzD3NzMy9",
        "tags": {"brand": ["b1", "b2", "b2"]},
    },
}
"""Clicks in float32 0.12, 0.07, 0.11, and the embeddings of `EXAMPLE_REQUEST`."""
README_REQUEST: Final[dict[str, Any]] = {
    "request_id": "r-1",
    "user": {"favourite": "c1", "thrift": 0.4},
    "context": {"device": "mobile"},
    "candidates": [
        {
            "id": name,
            "scores": {"ctr": ctr, "cvr": cvr},
            "price": price,
            "features": {"category": style[:2], "style": style},
            "embedding": embedding,
        }
        for name, ctr, cvr, price, style, embedding in (
            ("case", 0.21, 0.10, 19.0, "c1s0", [1.0, 0.1]),
            ("case-2", 0.20, 0.10, 21.0, "c1s0", [1.0, 0.0]),
            ("phone", 0.12, 0.20, 240.0, "c4s2", [0.0, 1.0]),
            ("cable", 0.15, 0.30, 9.0, "c6s3", [0.5, 0.5]),
        )
    ],
    "top_n": 3,
    "objectives": {"click": 5, "conversion": 1, "gmv": 1},
    "diversity": {"lambda": 0.8, "window": 4},
}
"""The request of README.md."""
RULED_REQUEST: Final[dict[str, Any]] = {
    "request_id": "r-1",
    "candidates": [
        {"id": name, "scores": {"ctr": ctr, "cvr": cvr}, "tags": {"brand": brand, "source": source}}
        for name, ctr, cvr, brand, source in (
            ("ad-7", 0.05, 0.01, "b1", "sponsor"),
            ("sku-1", 0.21, 0.10, "b2", "catalogue"),
            ("sku-2", 0.20, 0.08, "b2", "catalogue"),
            ("sku-3", 0.18, 0.09, "b2", "new"),
            ("sku-4", 0.12, 0.05, "b3", "new"),
        )
    ],
    "rules": {
        "pinned": [{"id": "ad-7", "position": 3}],
        "blocked": ["sku-8"],
        "caps": [{"by": "brand", "limit": 2, "window": 5}],
        "floors": [{"by": "source", "value": "new", "least": 1, "within": 2}],
        "boosts": [{"where": {"source": "new"}, "factor": 1.2}],
    },
    "shown": ["sku-5"],
    "shown_items": [{"id": "sku-5", "tags": {"brand": "b3"}}],
    "explain": True,
}

REQUESTS: Final[Mapping[str, Any]] = {
    "smallest": {"summary": "All that is required, and no more", "value": SMALLEST_REQUEST},
    "features": {"summary": "With features, for the demo bundle", "value": README_REQUEST},
    "queues": {"summary": "With queues of its own", "value": EXAMPLE_REQUEST},
    "columns": {"summary": "With candidates as columns, some of them base64 of float32", "value": COLUMNS_REQUEST},
    "rules": {"summary": "With rules, and an item of an earlier page", "value": RULED_REQUEST},
}
_TIMINGS: Final = {"decode": 0.102, "deal": 0.152, "encode": 0.136, "wait": 0.013, "infer": 1.894, "total": 2.484}
_PARTS: Final = {"click": 1.1285, "conversion": 0.1894, "gmv": 1.1995}
_EXPLANATION: Final = {"queue": "gmv", "parts": _PARTS, "penalty": 0.0, "score": 2.0139, "runner_up": "cable"}
_RULED: Final = {"boost": 1.2, "passed_over": [{"queue": "click", "id": "case-2", "rule": "caps[0]"}]}
_PHONE: Final = {"id": "phone", "index": 2, "position": 1}


def _answer(item: Mapping[str, Any], degraded: Mapping[str, str] | None = None) -> dict[str, Any]:
    value = {"click": 0.12, "conversion": 0.024, "gmv": 5.76} if degraded is None else dict.fromkeys(_PARTS, 0.0)
    return {
        "request_id": "r-1",
        "model": "demo",
        "version": "1",
        "items": [{**_PHONE, **item}],
        "value": value,
        "degraded": degraded,
        "timings_ms": _TIMINGS,
    }


ANSWERS: Final[Mapping[str, Any]] = {
    "list": {"summary": "The model's list", "value": _answer({"source": "model"})},
    "explained": {
        "summary": "With `explain`",
        "value": _answer({"source": "model", "explanation": _EXPLANATION}),
    },
    "ruled": {
        "summary": "A pin, a choice that a cap decided, and a floor that could not be kept",
        "value": _answer({"source": "model", "pinned": True, "explanation": {**_EXPLANATION, **_RULED}})
        | {"relaxed": ["floors[0]"]},
    },
    "degraded": {
        "summary": "The model was not done in time",
        "value": _answer({"source": "formula"}, {"reason": "deadline", "level": "formula"}),
    },
}

_REFUSED: Final = {
    "type": "urn:listwright:problem:invalid-request",
    "title": "The request is not valid",
    "status": 422,
    "detail": "candidates[1].id: 'a' is also the id of candidates[0]",
    "errors": [{"field": "candidates[1].id", "problem": "'a' is also the id of candidates[0]"}],
    "request_id": "r-2",
}
BATCHES: Final[Mapping[str, Any]] = {
    "shelves": {"summary": "Two shelves of one page", "value": {"requests": [EXAMPLE_REQUEST, SMALLEST_REQUEST]}},
}
BATCH_ANSWERS: Final[Mapping[str, Any]] = {
    "outcomes": {
        "summary": "One list, and one request that was refused",
        "value": {
            "results": [
                {"status": 200, "response": _answer({"source": "model"})},
                {"status": 422, "problem": _REFUSED},
            ]
        },
    },
}

DETAILS: Final[Mapping[str, str]] = {
    "malformed-json": "JSON is malformed: expected ':' (byte 12)",
    "malformed-http": "the request has no Host",
    "malformed-encoding": "content-encoding: the body is not one whole gzip stream: it is cut off",
    "unauthorized": "send Authorization: Bearer KEY with a valid key",
    "not-found": "no live model is called 'shoes'",
    "method-not-allowed": "GET /v1/rerank: the path allows OPTIONS, POST",
    "request-timeout": "the body took longer than 5 s",
    "conflict": "another load is in progress",
    "body-too-large": "the body is larger than 2097152 bytes",
    "uri-too-long": "the request line is longer than 65536 bytes",
    "unsupported-media-type": "Content-Type must be application/json, not 'text/plain'",
    "misdirected-request": "the admin listener does not answer under 'shop.example' (LISTWRIGHT_ADMIN_HOSTS)",
    "invalid-request": "candidates[1].id: 'a' is also the id of candidates[0]",
    "bundle-refused": "version: bundle 'demo' has no version '9'",
    "catalogue-refused": "0f3a9c1e77b2/12: base/price.npy: is missing",
    "scenes-refused": "scenes.home-feed.rules.caps[0].limit: Expected int >= 1",
    "keys-refused": "LISTWRIGHT_API_KEYS_FILE (--api-keys-file): /run/secrets/keys.toml: holds no key",
    "too-many-attempts": "too many wrong keys came from this address",
    "rate-limited": "the key 'backend' may send 200 requests per second",
    "headers-too-large": "the headers are larger than 65536 bytes",
    "internal-error": "the log has the request id",
    "not-implemented": "the transfer coding 'gzip' is not supported",
    "not-ready": "bundles are being loaded and warmed",
    "overloaded": "as many requests as allowed are in progress",
    "shed": "requests come in faster than they can be answered in time",
}
"""What each type of problem says, for instance; those that are not listed here have no example."""

ERRORS: Final[Mapping[str, Any]] = {
    "invalid-request": [{"field": "candidates[1].id", "problem": "'a' is also the id of candidates[0]"}]
}
"""Fields that these problems name."""
