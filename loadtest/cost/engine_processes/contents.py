"""Compare answers with the lists that the sleeping engine makes of their requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from loadtest.cost.engine_processes.sleeping import choose, numbers_of
from loadtest.peers.pipeline import Pipeline
from loadtest.peers.schemas import PeerRequest
from loadtest.requests.payloads import Payload
from loadtest.rig.answers import read_answers
from loadtest.rig.openloop.window import Fault, Window

CONNECTION: Final = (Fault.RESET, Fault.CLOSED, Fault.CUT)
"""What becomes of a request whose connection ends with the process that held it."""


class _Item(msgspec.Struct):
    id: str


class _Answer(msgspec.Struct):
    request_id: str
    items: list[_Item]


_decode = msgspec.json.Decoder(_Answer).decode


@dataclass
class Contents:
    """Count the answers of windows.

    `full` are the engine's own lists, `swapped` those that belong to another request, `degraded` counts lists of the
    formula by reason, `cut` requests whose connection ended, and `faults` what no answer may be.
    """

    requests: int = 0
    full: int = 0
    swapped: int = 0
    cut: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def merge(self, other: Contents) -> None:
        """Add another's counts."""
        for name in ("requests", "full", "swapped", "cut"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("statuses", "degraded", "faults"):
            getattr(self, name).update(getattr(other, name))

    def to_json(self) -> dict[str, Any]:
        """Write plain JSON types."""
        plain = {name: getattr(self, name) for name in ("requests", "full", "swapped", "cut")}
        counters = {name: getattr(self, name) for name in ("statuses", "degraded", "faults")}
        return {**plain, **{name: {str(k): v for k, v in found.items()} for name, found in counters.items()}}


class Expected:
    """Know what the sleeping engine answers to each of `payloads`, requests to one bundle.

    `lists` are their ids, each with the id of the request.
    """

    def __init__(self, bundle: Path, payloads: Sequence[Payload]) -> None:
        """Deal and encode all. Raises `ValueError` if two have the same list."""
        pipeline = Pipeline(bundle)
        decode = msgspec.json.Decoder(PeerRequest).decode
        self._payloads = payloads
        self.lists: list[tuple[str | None, list[str]]] = []
        for payload in payloads:
            prepared = pipeline.prepare(decode(payload.body))
            row, length = prepared.row, pipeline.manifest.limits.list_length
            (chosen,) = choose(row["valid"][None], numbers_of(row)[None], length)
            steps = chosen[chosen >= 0][: prepared.top_n]
            ids = [prepared.ids[place] for place in prepared.slots[steps].tolist()]
            self.lists.append((prepared.request.request_id, ids))
        if len({tuple(ids) for _, ids in self.lists}) < len(payloads):
            raise ValueError("two requests have the same list, so an answer could not be told from another's")

    def check(self, window: Window) -> Contents:
        """Count the answers of a window with bodies, whose requests are the payloads in turn."""
        found = Contents(requests=len(window), statuses=Counter(window.statuses()))
        answers = read_answers(window, self._payloads)
        found.faults.update(answers.faults)
        for row, record in enumerate(window.records):
            if record["error"] in CONNECTION:
                found.cut += 1
                found.faults[f"no answer: {Fault(record['error']).name.lower()}"] -= 1
            elif record["status"] == 200 and answers.versions[row]:
                if rung := str(answers.rungs[row]):
                    found.degraded[rung] += 1
                elif self._is_own(window.body(row), int(record["message"])):
                    found.full += 1
                else:
                    found.swapped += 1
        found.faults = +found.faults
        return found

    def _is_own(self, body: bytes, message: int) -> bool:
        """Tell whether a list is the one that the engine makes of this request."""
        answer, (request_id, ids) = _decode(body), self.lists[message]
        return answer.request_id == request_id and [item.id for item in answer.items[: len(ids)]] == ids
