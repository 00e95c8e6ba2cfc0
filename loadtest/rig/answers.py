"""Read a window's answers, and count those that the service may not give.

It may give a valid list, whole or degraded for a known reason, or refuse: 503 as a problem document with Retry-After.
Anything else is a fault and is counted in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.requests.payloads import Payload, list_problem
from loadtest.rig.openloop.window import Fault, Window

REASONS: Final = ("deadline", "wait", "model-error")
LEVELS: Final = ("formula", "input")
_PROBLEM: Final = "urn:listwright:problem:"


class _Rung(msgspec.Struct):
    reason: str
    level: str


class _List(msgspec.Struct):
    version: str
    degraded: _Rung | None


class _Problem(msgspec.Struct):
    type: str
    status: int


_list: Final = msgspec.json.Decoder(_List).decode
_problem: Final = msgspec.json.Decoder(_Problem).decode


@dataclass(frozen=True, slots=True)
class Answers:
    """Versions and rungs (``reason/level``) of the lists, row by row as in the window.

    `faults` counts what no answer may be, in words.
    """

    versions: NDArray[np.str_]
    rungs: NDArray[np.str_]
    faults: Mapping[str, int]


def read_answers(window: Window, payloads: Sequence[Payload]) -> Answers:
    """Read every body of a window with bodies, whose requests are `payloads` in turn."""
    versions, rungs, faults = [], [], Counter[str]()
    for row, record in enumerate(window.records):
        version = rung = ""
        problem: str | None
        if record["error"]:
            problem = f"no answer: {Fault(record['error']).name.lower()}"
        elif record["status"] == 200:
            problem, version, rung = _read_list(payloads[record["message"]], window.body(row))
        elif record["status"] == 503:
            problem = _refusal_problem(window.body(row), bool(record["problem"]), bool(record["retry_after"]))
        else:
            problem = f"status {record['status']}"
        versions.append(version)
        rungs.append(rung)
        if problem is not None:
            faults[problem] += 1
    return Answers(np.array(versions, np.str_), np.array(rungs, np.str_), dict(faults))


def _read_list(payload: Payload, body: bytes) -> tuple[str | None, str, str]:
    """Return the fault of a list, its version and its rung."""
    if problem := list_problem(payload, body):
        return problem, "", ""
    try:
        found = _list(body)
    except msgspec.MsgspecError as error:
        return f"is not a response: {error}", "", ""
    if found.degraded is None:
        return None, found.version, ""
    rung = f"{found.degraded.reason}/{found.degraded.level}"
    if found.degraded.reason not in REASONS or found.degraded.level not in LEVELS:
        return f"is degraded for a reason that nobody knows: {rung}", "", ""
    return None, found.version, rung


def _refusal_problem(body: bytes, media_type: bool, retry_after: bool) -> str | None:
    if not (media_type and retry_after):
        return f"a 503 without {'Retry-After' if media_type else 'application/problem+json'}"
    try:
        document = _problem(body)
    except msgspec.MsgspecError as error:
        return f"a 503 that is no problem document: {error}"
    if document.status != 503 or not document.type.startswith(_PROBLEM):
        return f"a 503 whose document says {document.status} {document.type}"
    return None
