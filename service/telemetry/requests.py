"""Count requests: their times, sizes, and the reasons of what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from service.contract.problems import KINDS
from service.contract.schemas import DegradedReason, LateReason
from service.telemetry import records
from service.telemetry.instruments import Instruments
from service.telemetry.records import RequestRecord
from service.telemetry.refusals import Refused
from service.telemetry.versions import RequestSeries, VersionSeries
from service.timing.deadline import HEADERS

# One edge is exactly the usual budget, 19 ms.
_SECONDS: Final = tuple(ms / 1e3 for ms in (1, 2, 4, 6, 8, 10, 13, 16, 19, 22, 26, 35, 50, 100, 250, 1000))
_STAGE_SECONDS: Final = (0.00005, 0.0001, 0.0002, 0.0005, *_SECONDS)
_CANDIDATES: Final = (1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_BATCH: Final = (1, 2, 4, 8, 16, 32, 64)
_REJECTED: Final = tuple(kind.slug for kind in KINDS if kind.status == 503)


def duration_edges(budget: float) -> list[float]:
    """Return the edges of a request's duration; one is the budget."""
    return sorted({*_SECONDS, budget})


class RequestMetrics:
    """Hold the metrics of single requests."""

    def __init__(self, make: Instruments, budget: float) -> None:
        edges = duration_edges(budget)
        self.durations = VersionSeries(lambda: RequestSeries(edges))
        not_answered = [outcome for outcome in records.OUTCOMES if outcome not in records.ANSWERED]
        no_model = (records.NO_MODEL, records.NO_MODEL)
        self.durations.pin(*no_model).begin(*no_model, not_answered)
        make.registry.register(self.durations)
        stage = make.histogram("rerank_stage_duration_seconds", "Time in one stage.", _STAGE_SECONDS, ("stage",))
        self._stages = {name: stage.labels(name) for name in records.STAGES}
        self._candidates = make.histogram("rerank_candidates", "Candidates in a request.", _CANDIDATES)
        self._batch = make.histogram("rerank_batch_size", "Requests in one run.", _BATCH)
        self._make_reasons(make)

    def _make_reasons(self, make: Instruments) -> None:
        text = "Lists that are not the model's."
        self._degraded = make.counts("rerank_degraded_total", text, "reason", get_args(DegradedReason))
        text = "Lists that deadlines, had they been enforced, would have taken from the model."
        self._would_degrade = make.counts("rerank_would_degrade_total", text, "reason", get_args(LateReason))
        self._rejected = make.counts("rerank_rejected_total", "Requests answered 503.", "reason", _REJECTED)
        text = (
            "Lists that are not degraded, by who made them: the model's plan, the sort's list where the model valued "
            "it higher, or the sort without running the model (bypass)."
        )
        self._choices = make.counts("rerank_list_choice_total", text, "choice", records.CHOICES)
        text = "Deadlines in headers that made no sense."
        headers = [name.decode() for name in HEADERS]
        self._ignored = make.counts("rerank_deadline_headers_ignored_total", text, "header", headers)

    def observe(self, record: RequestRecord) -> None:
        """Count one request."""
        exemplar = None if record.spans is None else {"trace_id": record.spans.trace.trace_id}
        self.durations.of(record.model, record.version).outcomes[record.outcome].observe(record.seconds, exemplar)
        if record.outcome == "rejected":
            self._rejected[record.reason or ""].inc()
        if record.degraded is not None:
            self._degraded[record.degraded].inc()
        if record.choice is not None:
            self._choices[record.choice].inc()
        if record.would_degrade is not None:
            self._would_degrade[record.would_degrade].inc()
        for header in record.ignored_headers:
            self._ignored[header].inc()
        for stage, seconds in record.stages.items():
            self._stages[stage].observe(seconds)
        if record.candidates:
            self._candidates.observe(record.candidates)
        if record.batch_size:
            self._batch.observe(record.batch_size)

    def refused(self, refusals: Sequence[Refused]) -> None:
        """Count requests that were refused by their headers, as `observe` would."""
        durations = self.durations.of(records.NO_MODEL, records.NO_MODEL).outcomes
        for refused in refusals:
            durations[refused.outcome].observe(refused.seconds)
            self._stages["lag"].observe(refused.seconds)
            if refused.outcome == "rejected":
                self._rejected[refused.reason].inc()
