"""Made-up windows: requests whose answers a test writes down, as the client would have recorded them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from loadtest.requests.payloads import Payload
from loadtest.rig.openloop.window import RECORD, DegradedField, Fault, Hiccups, Window

START: Final = 5_000_000_000
PAYLOADS: Final = (Payload(b"{}", ("a", "b", "c"), 2),)


@dataclass(frozen=True)
class Made:
    """One request: due after `second`, answered after `ms` with `body`, or not for `fault`."""

    second: float
    ms: float = 5.0
    status: int = 200
    body: bytes = b""
    fault: Fault = Fault.NONE
    problem: bool = True
    retry_after: bool = True


def ranked(
    *, version: str = "1", degraded: Any = None, items: Sequence[tuple[str, int]] = (("b", 1), ("a", 0))
) -> bytes:
    """A list as the service writes it."""
    rows = [{"id": name, "index": index, "position": n} for n, (name, index) in enumerate(items, 1)]
    return json.dumps({"version": version, "items": rows, "degraded": degraded}).encode()


def refusal(status: int = 503) -> bytes:
    """A problem document."""
    return json.dumps({"type": "urn:listwright:problem:shed", "status": status, "title": "x"}).encode()


def ok(second: float, ms: float = 5.0, **fields: Any) -> Made:
    """A list; `fields` are `ranked`'s."""
    return Made(second, ms, body=ranked(**fields))


def refused(second: float, **fields: Any) -> Made:
    """A 503 as it should be, but for `fields`."""
    return Made(second, 0.5, 503, **{"body": refusal(), **fields})


def window_of(made: Sequence[Made], seconds: float) -> Window:
    """All of them in one window, with their bodies."""
    records = np.zeros(len(made), RECORD)
    offset = 0
    for row, m in zip(records, made, strict=True):
        row["intended"] = row["sent"] = START + round(m.second * 1e9)
        row["done"] = row["intended"] + round(m.ms * 1e6)
        row["error"], row["body_offset"], row["body_length"] = m.fault, offset, len(m.body)
        offset += len(m.body)
        if m.fault:
            continue
        row["status"] = m.status
        if m.status == 200:
            row["list"] = DegradedField.NULL if b'"degraded": null' in m.body else DegradedField.YES
        else:
            row["problem"], row["retry_after"] = m.problem, m.retry_after
    bodies = b"".join(m.body for m in made)
    return Window(records, START, seconds, Hiccups(0, 0, 0), {}, 0.0, len(made), bodies)
