"""Log requests: a sample of all, and each that was slow, degraded or failed.

The sample is drawn by the trace id as OpenTelemetry's ratio sampler does it, so that every service on the way, and the
tracing of this one, keep the same requests. A line has facts about a request and nothing that its body says of users or
items.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final, Literal, get_args
from zlib import crc32

from service.telemetry.logs import log_fields
from service.telemetry.records import OUTCOMES, STAGES, RequestOutcome, RequestRecord
from service.telemetry.refusal_log import Later, RefusalLog, Timer, on_loop
from service.timing.bucket import TokenBucket

_log = logging.getLogger("service.requests")

Cause = Literal["sampled", "slow", "degraded", "error", "batch"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)
MOST_A_SECOND: Final = 20
"""Lines per second and process for each cause, but for the sample."""

LEFT_OUT_SECONDS: Final = 10.0
"""Time from the first line that is left out to the one that tells their number."""

_REFUSED: Final = frozenset(("invalid", "rejected"))
_IDS: Final = 2**64
_STAGE_FIELDS: Final = {stage: f"stage_{stage}_ms" for stage in STAGES}


@dataclass(frozen=True, kw_only=True)
class RequestLogOptions:
    """Say which requests have a line.

    `share` is that of the sample, 0…1; a request is slow after so many seconds. The sample has at most `most_sampled`
    lines a second. That is for clients that always send the same trace id: what one process can answer is less.
    """

    share: float
    slow_seconds: float
    batch_slow_seconds: float
    most_sampled: int = 1000


class RequestLog:
    """Write a line about a finished request or batch, or count it.

    Used from the event loop only; never raises for a record of this service. `later` and `clock` are for tests.
    """

    def __init__(
        self, options: RequestLogOptions, *, clock: Callable[[], float] = monotonic, later: Later = on_loop
    ) -> None:
        self._sampled_below = sampled_below(options.share)
        self._slow_seconds = options.slow_seconds
        self._batch_slow_seconds = options.batch_slow_seconds
        self._later = later
        most = dict.fromkeys(CAUSES, MOST_A_SECOND) | {"sampled": options.most_sampled}
        self._allowances = {cause: TokenBucket(lines, lines, clock=clock) for cause, lines in most.items()}
        self._left_out: dict[Cause, int] = {}
        self._timer: Timer | None = None
        self.refusals = RefusalLog(clock=clock, later=later)
        """Notes those that were refused, also without a record."""

    def observe(self, record: RequestRecord) -> None:
        """Write the line of a request, if it has one."""
        below, trace_id = self._sampled_below, record.trace_id
        sampled = below > 0 and is_sampled(record.request_id, trace_id, below)
        outcome = record.outcome
        if outcome in _REFUSED:
            self._count_refusal(record)
            if not sampled:
                return
        slow = record.seconds > (self._slow_seconds if record.batch_id is None else self._batch_slow_seconds)
        cause: Cause
        if sampled:
            cause = "sampled"
        elif outcome == "error" or outcome == "degraded":
            cause = outcome
        elif slow:
            cause = "slow"
        else:
            return
        level = logging.WARNING if outcome == "error" else logging.INFO
        if _log.isEnabledFor(level) and self._allows(cause):
            log_fields(_log, level, "request", request_fields(record, sampled=sampled, slow=slow))

    def observe_batch(self, record: RequestRecord, requests: Mapping[RequestOutcome, int]) -> None:
        """Write the line of a batch, or count it if it was refused.

        `requests` counts those in it that were answered, by outcome.
        """
        if record.outcome in _REFUSED:
            self._count_refusal(record)
        elif _log.isEnabledFor(logging.INFO) and self._allows("batch"):
            log_fields(_log, logging.INFO, "batch", batch_fields(record, requests))

    def flush(self) -> None:
        """Tell all that has been counted and has had no line."""
        self.refusals.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._tell_left_out()

    def _count_refusal(self, record: RequestRecord) -> None:
        reason = record.reason or record.outcome
        self.refusals.add(record.peer, record.key, reason, record.status, record.request_id, record.trace_id)

    def _allows(self, cause: Cause) -> bool:
        """Take one line of the allowance; count it as left out if there is none."""
        if self._allowances[cause].take():
            return True
        self._left_out[cause] = self._left_out.get(cause, 0) + 1
        if self._timer is None:
            self._timer = self._later(LEFT_OUT_SECONDS, self._tell_left_out)
        return False

    def _tell_left_out(self) -> None:
        self._timer = None
        left_out, self._left_out = self._left_out, {}
        fields = {f"left_out_{cause}": left_out.get(cause, 0) for cause in CAUSES}
        log_fields(_log, logging.WARNING, "lines about requests were left out", fields)


def sampled_below(share: float) -> int:
    """Return the bound below which the lower half of a trace id is sampled."""
    return round(share * _IDS)


def is_sampled(request_id: str, trace_id: str | None, below: int) -> bool:
    """Tell whether a request is sampled, by its trace id or else its own."""
    if trace_id is not None:
        return int(trace_id[16:], 16) < below
    return crc32(request_id.encode("utf-8", "surrogatepass")) << 32 < below


def request_fields(record: RequestRecord, *, sampled: bool, slow: bool) -> dict[str, object]:
    """Return the fields of a request's line; docs/operations.md has their meanings."""
    fields: dict[str, object] = {"request_id": record.request_id}
    if record.trace_id is not None:
        fields["trace_id"], fields["span_id"] = record.trace_id, record.span_id
    if record.batch_id is not None:
        fields["batch_id"] = record.batch_id
    fields |= {
        "peer": record.peer,
        "key": record.key,
        "scene": record.scene,
        "model": record.model,
        "version": record.version,
        "outcome": record.outcome,
        "status": record.status,
    }
    rung = record.choice or record.level
    told = {"rung": rung, "degraded": record.degraded, "would_degrade": record.would_degrade, "reason": record.reason}
    fields |= {name: value for name, value in told.items() if value is not None}
    fields |= {"candidates": record.candidates, "batch_size": record.batch_size, "sampled": sampled, "slow": slow}
    fields["duration_ms"] = round(record.seconds * 1e3, 3)
    for stage, seconds in record.stages.items():
        fields[_STAGE_FIELDS[stage]] = round(seconds * 1e3, 3)
    return fields


def batch_fields(record: RequestRecord, requests: Mapping[RequestOutcome, int]) -> dict[str, object]:
    """Return the fields of a batch's line."""
    fields: dict[str, object] = {"request_id": record.request_id}
    if record.trace_id is not None:
        fields["trace_id"], fields["span_id"] = record.trace_id, record.span_id
    fields |= {"peer": record.peer, "key": record.key, "outcome": record.outcome, "status": record.status}
    if record.reason is not None:
        fields["reason"] = record.reason
    fields["requests"] = sum(requests.values())
    fields |= {f"requests_{outcome}": requests.get(outcome, 0) for outcome in OUTCOMES}
    fields["duration_ms"] = round(record.seconds * 1e3, 3)
    return fields
