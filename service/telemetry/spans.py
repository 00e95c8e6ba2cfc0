"""Time requests whose traces are exported, and say what an exporter of traces is told.

Knows nothing about OpenTelemetry: `tracing.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Final, Literal, Protocol, get_args

from service.telemetry.records import (
    Lap,
    RequestOutcome,
    RequestRecord,
    RequestStage,
    ShadowRecord,
    SpanFacts,
    Stopwatch,
)
from service.transport.asgi import Trace

SpanResult = Literal["exported", "dropped", "failed"]
SPAN_RESULTS: Final[tuple[SpanResult, ...]] = get_args(SpanResult)
"""exported: the collector has taken it. dropped: too many waited already. failed: the collector did not take it."""

CountSpans = Callable[[SpanResult, int], None]
"""Told how many spans have ended like this, from any thread."""

EXTRA: Final = "needs the OpenTelemetry SDK: pip install '.[otel]' in a checkout"


class Tracing(Protocol):
    """Makes the spans of requests that have been answered; nothing it does fails or waits."""

    def begin(self) -> Trace | None:
        """Begin a trace for a request that came without one, or leave it out."""

    def observe(self, record: RequestRecord) -> None:
        """Export one request, if its trace is sampled."""

    def observe_part(self, record: RequestRecord) -> None:
        """Export one request of a batch, if its trace is sampled."""

    def observe_batch(self, record: RequestRecord, requests: Mapping[RequestOutcome, int]) -> None:
        """Export a batch, with the outcomes of its requests, if its trace is sampled."""

    def observe_shadow(self, record: ShadowRecord, of: SpanFacts, began: float) -> None:
        """Export a run of the shadow for a request, which has just ended.

        It `began` on `perf_counter`'s clock.
        """


class SpanStopwatch(Stopwatch):
    """Note as well when each lap began and ended.

    The stage `decode` is timed from arrival; its lap begins where that of `lag` ends.
    """

    __slots__ = ("laps",)

    def __init__(self, arrival: float, lag: float) -> None:
        super().__init__(arrival, lag)
        self.laps: list[Lap] = [Lap("lag", arrival, arrival + lag)] if lag else []

    def lap(self, stage: RequestStage) -> None:
        start = self._start()
        super().lap(stage)
        self.laps.append(Lap(stage, start, self._last))

    def engine_ran(self, started: float, wait: float, infer: float) -> None:
        super().engine_ran(started, wait, infer)
        self.laps += [Lap("wait", started - wait, started), Lap("infer", started, started + infer)]

    def engine_missed(self) -> None:
        """Note the wait, which is otherwise seen as part of the next lap."""
        if "wait" not in self.stages:
            self.laps.append(Lap("wait", self._start(), perf_counter()))

    def _start(self) -> float:
        """Return when the present lap began: laps do not overlap."""
        return max(self._last, self.laps[-1].end) if self.laps else self._last
