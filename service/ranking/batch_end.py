"""Tell observers how batches have ended, each as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from service.ranking.exchange import Exchange
from service.telemetry.records import BatchRecord, RequestOutcome
from service.telemetry.spans import Tracing

CountBatch = Callable[[RequestOutcome, float], None]
"""Told the outcome of a batch, and the seconds that it took."""


class BatchEnd:
    """Count and log batches, and export those whose trace is sampled."""

    def __init__(
        self, count: CountBatch, log: Callable[[BatchRecord], None] | None = None, tracing: Tracing | None = None
    ) -> None:
        self._count = count
        self._log = log
        self._tracing = tracing

    def observe(
        self,
        exchange: Exchange,
        outcome: RequestOutcome,
        status: int,
        reason: str | None = None,
        found: Sequence[RequestOutcome] = (),
    ) -> None:
        """Tell of a batch that has ended; `found` are the outcomes of its requests."""
        seconds = exchange.clock.elapsed
        self._count(outcome, seconds)
        if self._log is not None:
            self._log(_record(exchange, outcome, status, seconds, reason, found))
        if self._tracing is not None and exchange.spans is not None:
            self._tracing.observe_batch(exchange.record(outcome, status, reason), len(found))


def _record(
    exchange: Exchange,
    outcome: RequestOutcome,
    status: int,
    seconds: float,
    reason: str | None,
    found: Sequence[RequestOutcome],
) -> BatchRecord:
    call = exchange.call
    return BatchRecord(
        request_id=call.request_id,
        trace_id=call.trace.trace_id if call.trace else None,
        span_id=call.trace.span_id if call.trace else None,
        outcome=outcome,
        status=status,
        seconds=seconds,
        reason=reason,
        peer=call.peer,
        key=exchange.key,
        requests=Counter(found),
    )
