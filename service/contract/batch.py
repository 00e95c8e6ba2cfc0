"""Define the body and the answer of `POST /v1/rerank/batch`, and take a body apart.

A body is decoded in two steps: here into the JSON of each request, which is only scanned, and later each request on its
own. So a request that is not valid spoils no other, and the event loop has its turn between two of them.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from models.contract.serving import MOST_REQUESTS
from service.contract.problems import ProblemDocument, invalid
from service.contract.refusals import check_utf8, refusal
from service.contract.schemas import RerankRequest, RerankResponse

BODIES: Final = 4
"""The body of a batch may have so many times the bytes of a single request's."""

_COUNT: Final = f"between 1 and {MOST_REQUESTS} are allowed"
_STATUS: Final = "What /v1/rerank would have answered: 200 with `response`, any other with `problem`."


class BatchRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests to answer, each on its own."""

    requests: Annotated[list[RerankRequest], Meta(min_length=1, max_length=MOST_REQUESTS)]


class BatchResult(Struct, frozen=True, kw_only=True):
    """Outcome of one request."""

    status: Annotated[int, Meta(description=_STATUS)]
    response: RerankResponse | UnsetType = UNSET
    problem: Annotated[
        ProblemDocument | UnsetType, Meta(description="Its fields are those of the request, without `requests[i]`.")
    ] = UNSET


class BatchResponse(Struct, frozen=True):
    """Outcomes in the order of the requests."""

    results: Annotated[list[BatchResult], Meta(min_length=1, max_length=MOST_REQUESTS)]


# Like a list of Raw, but decoding ends at the first element too many: a body of a million makes no million objects.
_Requests: Final = msgspec.defstruct(
    "_Requests",
    [(f"request_{i}", msgspec.Raw | UnsetType, UNSET) for i in range(MOST_REQUESTS)],
    array_like=True,
    forbid_unknown_fields=True,
)


class _Batch(Struct, forbid_unknown_fields=True):
    requests: _Requests  # type: ignore[valid-type]


_decode: Final = msgspec.json.Decoder(_Batch).decode


def batch_bytes(max_body_bytes: int, unfinished_bytes: int) -> int:
    """Return the most bytes of a batch's body.

    Four such bodies of one client may be unfinished at once.
    """
    return max(max_body_bytes, min(BODIES * max_body_bytes, unfinished_bytes // 4))


def split_batch(body: bytes) -> list[bytes]:
    """Return the JSON of each request.

    Raises `Problem`: 400 for what is no JSON, else 422.
    """
    try:
        check_utf8(body)
        requests = msgspec.structs.astuple(_decode(body).requests)
    except msgspec.ValidationError as error:
        if "of at most length" in str(error):
            raise invalid("requests", f"has more than {MOST_REQUESTS} requests; {_COUNT}") from None
        raise refusal(error, body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(error, body) from None
    found = [bytes(raw) for raw in requests if raw is not UNSET]
    if not found:
        raise invalid("requests", f"has no requests; {_COUNT}")
    return found
