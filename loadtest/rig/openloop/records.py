"""Describe the rows that the C client writes, one per request (see `openloop.c`)."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Records = NDArray[Any]
"""A structured array of `RECORD`, one row per request."""

RECORD: Final = np.dtype(
    [
        ("intended", "<i8"),
        ("sent", "<i8"),
        ("done", "<i8"),
        ("body_offset", "<i8"),
        ("body_length", "<u4"),
        ("message", "<u4"),
        ("infer_ms", "<f4"),
        ("connection", "<u4"),
        ("status", "<u2"),
        ("list", "u1"),
        ("retry_after", "u1"),
        ("error", "u1"),
        ("retries", "u1"),
        ("fully_sent", "u1"),
        ("problem", "u1"),
    ]
)
"""Times are nanoseconds of CLOCK_MONOTONIC, 0 for what never was; `infer_ms` is NaN where the body does not say.

`retry_after` and `problem` say whether an answer has that header, and the media type application/problem+json.
"""


class DegradedField(IntEnum):
    """Values of the column `list`: the body's field `degraded`."""

    UNSAID = 0
    NULL = 1
    YES = 2


class Fault(IntEnum):
    """Values of the column `error`: why a request has no answer."""

    NONE = 0
    CONNECT = 1
    """No connection could be made, so not a byte was sent."""
    RESET = 2
    """Reset before any byte of the answer: the server's kernel still held unread bytes, or the server was gone."""
    CLOSED = 3
    """Closed in order before any byte of the answer: the server had read all that was sent."""
    CUT = 4
    """Closed or reset in the middle of the answer."""
    TIMEOUT = 5
    """Sent, but not answered when the wait for stragglers ended."""
    MALFORMED = 6
    """The answer is not HTTP/1.1 with a length."""
    UNSENT = 7
    """Never sent, because no connection came free."""


def answered(records: Records) -> NDArray[np.bool_]:
    """Mark the requests that have a whole answer, of any status."""
    return np.asarray(records["error"] == Fault.NONE)


def full_list(records: Records) -> NDArray[np.bool_]:
    """Mark the answers that are 200 with ``"degraded": null``: a list that the model made."""
    return np.asarray(answered(records) & (records["status"] == 200) & (records["list"] == DegradedField.NULL))


def status_200(records: Records) -> NDArray[np.bool_]:
    """Mark the answers that are 200; for servers that have no degraded lists."""
    return np.asarray(answered(records) & (records["status"] == 200))
