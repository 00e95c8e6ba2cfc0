"""Write list records as requests of `POST /v1/rerank`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from models.contract.serving import MOST_REQUESTS
from models.data.records import Candidate, ListRecord

MOST_BYTES: Final = 4 * 1024 * 1024
"""Most bytes of a batch of several requests; a service with usual settings takes twice as many."""

_encode: Final = msgspec.json.Encoder().encode


def candidate_fields(candidate: Candidate) -> dict[str, Any]:
    """Write a candidate with what it has."""
    table = {
        "id": candidate.id,
        "scores": dict(candidate.scores),
        "features": dict(candidate.features),
        "price": candidate.price,
        "embedding": None if candidate.embedding is None else list(candidate.embedding),
    }
    return {key: value for key, value in table.items() if value is not None}


def encode_record(record: ListRecord, options: Mapping[str, Any]) -> bytes:
    """Write the request for all candidates, in the order of the file.

    `options` holds its other fields.
    """
    body = {
        "request_id": record.request_id,
        "user": dict(record.user),
        "context": dict(record.context),
        "candidates": [candidate_fields(candidate) for candidate in record.candidates],
        **options,
    }
    return _encode(body)


def batches(requests: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Group ids and requests as a service takes them: so many, and so many bytes."""
    batch: list[tuple[str, bytes]] = []
    size = 0
    for name, body in requests:
        if batch and (len(batch) == MOST_REQUESTS or size + len(body) > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((name, body))
        size += len(body)
    if batch:
        yield batch
