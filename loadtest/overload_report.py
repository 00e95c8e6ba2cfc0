"""What an overload came to: every answer checked, figures beside their targets, and how it went second by second."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from matplotlib.figure import Figure

from loadtest.latency import BUDGET_MS
from loadtest.openloop.records import full_list
from loadtest.openloop.window import Window
from loadtest.verdicts import Target, target_table
from models.files import whole_file

_PIECE: Final = 0.5
_RECOVERY_SECONDS: Final = 2.0


class _Item(msgspec.Struct):
    id: str
    index: int


class _Degraded(msgspec.Struct):
    reason: str
    level: str


class _List(msgspec.Struct):
    items: list[_Item]
    degraded: _Degraded | None


class _Candidate(msgspec.Struct):
    id: str


class _Request(msgspec.Struct):
    candidates: list[_Candidate]
    top_n: int | None = None


class _Refusal(msgspec.Struct):
    status: int
    type: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Half a second: requests due in it per second by what became of them, and the p99 of its lists in ms."""

    second: float
    full: float
    degraded: float
    refused: float
    p99_ms: float


@dataclass(slots=True)
class Overload:
    """Figures of one run; rates in requests/s, times in milliseconds.

    `invalid` counts answers of the overload that are neither a valid list nor a refusal with Retry-After, `faults`
    requests without an answer. `recovered_p99_ms` is that of the requests due later than two seconds after the end.
    """

    rate: float
    factor: float
    requests: int
    kinds: dict[str, int]
    invalid: int
    faults: dict[str, int]
    p99_ms: float
    full_rate: float
    before_p99_ms: float
    recovered_p99_ms: float
    before_full_share: float
    recovered_full_share: float
    pieces: list[Piece] = field(default_factory=list)
    refusal_cpu_ms: float = math.nan

    @classmethod
    def of(
        cls, *, bodies: Sequence[bytes], rate: float, factor: float, before: Window, over: Window, after: Window
    ) -> Overload:
        """Read and check everything. `bodies` are the requests', in the order of the messages."""
        kinds, invalid = check_answers(over, bodies)
        recovered = since_end(after, over)
        return cls(
            rate=rate,
            factor=factor,
            requests=len(over),
            kinds=dict(kinds),
            invalid=invalid,
            faults=over.faults(),
            p99_ms=_p99_of_lists(over),
            full_rate=over.full() / over.seconds,
            before_p99_ms=before.latency().p99,
            recovered_p99_ms=recovered.latency().p99,
            before_full_share=before.full() / len(before),
            recovered_full_share=recovered.full() / len(recovered),
            pieces=_pieces(before, over, after),
        )

    def targets(self) -> list[Target]:
        """What an overload must keep."""
        return [
            Target("answers that are no valid list and no 503 with Retry-After", 0, self.invalid),
            Target("requests without an answer", 0, sum(self.faults.values())),
            Target("p99 of the lists, ms", round(1.1 * BUDGET_MS, 1), self.p99_ms),
            Target("full lists per second, to the goodput", 0.8, self.full_rate / self.rate, at_least=True),
            Target("CPU of a refusal, ms", 0.3, self.refusal_cpu_ms),
            Target("p99 from 2 s after the load, to that before it", 1.2, self.recovered_p99_ms / self.before_p99_ms),
        ]


def check_answers(window: Window, bodies: Sequence[bytes]) -> tuple[Counter[str], int]:
    """How many answers of each kind, and how many are invalid. The window's bodies must have been kept."""
    requests = [msgspec.json.decode(body, type=_Request) for body in bodies]
    answer, refusal = msgspec.json.Decoder(_List), msgspec.json.Decoder(_Refusal)
    kinds: Counter[str] = Counter()
    invalid = 0
    records = window.records
    for row in np.flatnonzero(window.answered).tolist():
        status = int(records["status"][row])
        try:
            if status == 200:
                listed = answer.decode(window.body(row))
                fine = is_valid(listed, requests[int(records["message"][row])])
                kinds[f"{listed.degraded.reason}; {listed.degraded.level}" if listed.degraded else "full"] += 1
            else:
                problem = refusal.decode(window.body(row))
                fine = status == problem.status == 503 and bool(records["retry_after"][row])
                kinds[f"{status} {problem.type.rsplit('/', 1)[-1]}"] += 1
        except (msgspec.DecodeError, ValueError):
            fine = False
        invalid += not fine
    return kinds, invalid


def is_valid(listed: _List, request: _Request) -> bool:
    """Is it as long as was asked for, of candidates that were sent, each once and under its own id?"""
    n = len(request.candidates)
    indexes = [item.index for item in listed.items]
    if not indexes or (request.top_n is not None and len(indexes) != min(request.top_n, n)):
        return False
    if len(set(indexes)) != len(indexes) or not all(0 <= i < n for i in indexes):
        return False
    return all(request.candidates[item.index].id == item.id for item in listed.items)


def since_end(after: Window, over: Window) -> Window:
    """The requests of `after` that were due more than two seconds after the last of `over` was."""
    gap = (after.start_ns - over.start_ns) / 1e9 - over.seconds
    return after.between(max(0.0, _RECOVERY_SECONDS - gap), after.seconds)


def _p99_of_lists(window: Window) -> float:
    lists = window.answered & (window.records["status"] == 200)
    return window.latency(lists).p99 if lists.any() else math.inf


def _pieces(before: Window, over: Window, after: Window) -> list[Piece]:
    pieces = []
    for window in (before, over, after):
        first = (window.start_ns - over.start_ns) / 1e9
        due = (window.records["intended"] - window.start_ns) / 1e9
        for begin in np.arange(max(0.0, float(due.min(initial=0.0))), float(due.max(initial=0.0)), _PIECE).tolist():
            pieces.append(_piece(first + begin, window.where((due >= begin) & (due < begin + _PIECE))))
    return pieces


def _piece(second: float, part: Window) -> Piece:
    lists = part.answered & (part.records["status"] == 200)
    full = int(np.count_nonzero(full_list(part.records)))
    refused = int(np.count_nonzero(part.answered & (part.records["status"] == 503)))
    degraded = int(np.count_nonzero(lists)) - full
    p99 = part.latency(lists).p99 if lists.any() else math.nan
    return Piece(second, full / _PIECE, degraded / _PIECE, refused / _PIECE, p99)


def markdown(measured: Overload) -> str:
    """What was offered, what became of it, and the targets."""
    offered = f"{measured.factor:g} times the goodput of {measured.rate:.0f} requests/s"
    lines = [f"Offered: {measured.requests} requests, {offered}.", "", "| answer | share |", "|---|---:|"]
    for kind, count in sorted(measured.kinds.items(), key=lambda pair: -pair[1]):
        lines.append(f"| {kind} | {count / measured.requests:.2%} |")
    full = f"Full lists: {measured.before_full_share:.1%} before, {measured.recovered_full_share:.1%} after."
    p99 = f"p99 of all answers: {measured.before_p99_ms:.2f} ms before, {measured.recovered_p99_ms:.2f} ms after."
    return "\n".join([*lines, "", f"{full} {p99}", "", target_table(measured.targets())])


def to_json(measured: Overload) -> dict[str, Any]:
    """As plain JSON, what is not a number as null."""
    table: dict[str, Any] = msgspec.to_builtins(measured)
    table["targets"] = [{**msgspec.to_builtins(t), "reached": t.reached} for t in measured.targets()]
    return dict(msgspec.json.decode(msgspec.json.encode(table)))


def draw(path: Path, measured: Overload) -> None:
    """Answers per second by kind, and the p99 of the lists, over time."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    rates, times = figure.subplots(2, 1, sharex=True)
    seconds = [p.second for p in measured.pieces]
    layers = [[getattr(p, name) for p in measured.pieces] for name in ("full", "degraded", "refused")]
    rates.stackplot(seconds, *layers, labels=["full list", "degraded list", "503"])
    rates.axhline(measured.rate, linestyle=":", color="black", label="goodput")
    rates.set_ylabel("answers/s")
    rates.legend(fontsize="x-small", loc="upper left")
    times.plot(seconds, [p.p99_ms for p in measured.pieces])
    times.axhline(BUDGET_MS, linestyle=":", color="black")
    times.set_ylabel("p99 of lists, ms")
    times.set_ylim(bottom=0)
    times.set_xlabel("seconds since the overload began")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), "utf-8")
