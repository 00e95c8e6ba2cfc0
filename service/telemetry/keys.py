"""Count requests by API key, attempts without a valid one, and reloads of keys."""

from __future__ import annotations

from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter

from service.access.key import NO_KEY
from service.access.keys import FAILURE_REASONS, FailureReason
from service.contract.problems import RATE_LIMITED
from service.telemetry.named_series import NamedSeries
from service.telemetry.records import ANSWERED, RequestRecord
from service.telemetry.versions import KEY

KeyRequestResult = Literal["served", "refused", "limited"]
RESULTS: Final[tuple[KeyRequestResult, ...]] = get_args(KeyRequestResult)
"""served: a list. limited: over the key's limit. refused: any other end."""

_RELOADS: Final = ("ok", "unchanged", "refused")


class KeySeries:
    """Requests with one key."""

    def __init__(self) -> None:
        text = "Requests for lists, those of batches too, by API key; none: without one, or ended before it was known."
        self._requests = Counter("rerank_key_requests_total", text, ("key", "result"), registry=None)
        self.families = (self._requests,)

    def begin(self, _: str, key: str) -> None:
        """Make all series; those that exist go on."""
        self.served, self.refused, self.limited = (self._requests.labels(key, result) for result in RESULTS)


class KeyMetrics:
    """Hold the series of the live keys, and of requests without one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._series = NamedSeries(KEY, NO_KEY, KeySeries, registry)
        self.swapped, self.sweep = self._series.swapped, self._series.sweep

    def observe(self, record: RequestRecord) -> None:
        """Count one request."""
        series = self._series.of(record.key)
        if record.outcome in ANSWERED:
            series.served.inc()
        elif record.reason == RATE_LIMITED.slug:
            series.limited.inc()
        else:
            series.refused.inc()

    def refused(self, key: str, requests: int, *, limited: bool) -> None:
        """Count requests that were refused by their headers."""
        series = self._series.of(key)
        (series.limited if limited else series.refused).inc(requests)


class AccessMetrics:
    """Hold the metrics of what checks keys, and of what reads their files."""

    def __init__(self, registry: CollectorRegistry) -> None:
        text = (
            "Requests without a valid API key on either listener: missing (none was sent), unknown, limited (unknown, "
            "after too many from the same address)."
        )
        failures = Counter("rerank_auth_failures_total", text, ("reason",), registry=registry)
        self._failures = {reason: failures.labels(reason) for reason in FAILURE_REASONS}
        text = "Looks at a file of API keys: switched to it, nothing new, or refused."
        reloads = Counter("rerank_key_reloads_total", text, ("result",), registry=registry)
        self._reloads = {result: reloads.labels(result) for result in _RELOADS}

    def failed(self, reason: FailureReason) -> None:
        """Count a request without a valid key."""
        self._failures[reason].inc()

    def reloaded(self, result: str) -> None:
        """Count one look at a file of keys: ``ok``, ``unchanged`` or ``refused``."""
        self._reloads[result].inc()
