"""Requests for the tiny bundle."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import numpy as np

from service.contract.decoding import decode_request
from service.contract.schemas import Candidate, RerankRequest


def candidate(i: int, **changes: Any) -> dict[str, Any]:
    """Candidate number `i`, always the same."""
    rng = random.Random(i)
    made = {
        "id": f"sku-{i}",
        "scores": {"ctr": round(rng.uniform(0.01, 0.5), 6), "cvr": round(rng.uniform(0.01, 0.2), 6)},
        "price": round(rng.uniform(1, 100), 2),
        "features": {"category": rng.choice(["shoes", "hats", "unheard of"]), "brand": f"b{i % 9}", "stars": i % 6},
        "embedding": [round(rng.gauss(0, 1), 4) for _ in range(4)],
    }
    return {**made, **changes}


def request(n: int = 8, **changes: Any) -> dict[str, Any]:
    """A request with `n` candidates."""
    return {
        "user": {"age": "25-34", "visits": 3},
        "context": {"hour": 21},
        "candidates": [candidate(i) for i in range(n)],
        **changes,
    }


def float32(numbers: object) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


def as_columns(sent: dict[str, Any], *, packed: bool = False) -> dict[str, Any]:
    """The same request with its candidates as columns; if `packed`, numbers are base64, where none is missing."""
    candidates = sent["candidates"]

    def column(values: list[Any]) -> Any:
        numbers = all(isinstance(value, float) for value in values)
        return float32(values) if packed and numbers else values

    def group(name: str) -> dict[str, Any]:
        tables = [one.get(name) or {} for one in candidates]
        names = dict.fromkeys(key for table in tables for key in table)
        return {key: column([table.get(key) for table in tables]) for key in names}

    embeddings = [one.get("embedding") for one in candidates]
    columns = {
        "id": [one["id"] for one in candidates],
        "scores": group("scores"),
        "price": column([one.get("price") for one in candidates]),
        "features": group("features"),
        "embedding": float32(embeddings) if packed and all(embeddings) else embeddings,
        "tags": {name: values for name, values in group("tags").items() if not isinstance(values, str)},
    }
    return {**sent, "candidates": columns}


def check_list(sent: dict[str, Any], answer: dict[str, Any], list_length: int = 5) -> None:
    """The law: min(top_n, candidates) items, each from the request, none twice, the model's first."""
    items, ids = answer["items"], [c["id"] for c in sent["candidates"]]
    assert len(items) == min(sent.get("top_n") or list_length, len(ids))
    assert len({item["index"] for item in items}) == len(items)
    assert all(ids[item["index"]] == item["id"] for item in items)
    assert [item["position"] for item in items] == list(range(1, len(items) + 1))
    rungs = ["model", "formula", "input"]
    sources = [rungs.index(item["source"]) for item in items]
    assert sources == sorted(sources)


def decoded(sent: dict[str, Any]) -> RerankRequest:
    """The request as the service decodes it."""
    return decode_request(json.dumps(sent).encode())


def objects(request: RerankRequest) -> list[Candidate]:
    """The candidates of a request that has them as objects."""
    assert isinstance(request.candidates, list)
    return request.candidates
