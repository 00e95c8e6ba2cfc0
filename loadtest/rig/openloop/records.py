"""What is known of one request: the rows that the C client writes, and masks over them. Mirrors `openloop.c`."""

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


class Degraded(IntEnum):
    """What the body says under `degraded`; a column named `list`."""

    UNSAID = 0
    NULL = 1
    YES = 2


class Fault(IntEnum):
    """Why a request has no answer; a column named `error`."""

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
    """Which requests have a whole answer, whatever its status."""
    return np.asarray(records["error"] == Fault.NONE)


def full_list(records: Records) -> NDArray[np.bool_]:
    """Which answers are 200 with ``"degraded": null``: a list that the model made."""
    return np.asarray(answered(records) & (records["status"] == 200) & (records["list"] == Degraded.NULL))


def status_200(records: Records) -> NDArray[np.bool_]:
    """Which answers are 200; for servers that have no other quality than that."""
    return np.asarray(answered(records) & (records["status"] == 200))
