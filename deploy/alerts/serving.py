"""Alert on a service that is gone, refuses requests or answers them with errors."""

from __future__ import annotations

from typing import Final

from deploy.alerts.rules import DAY, HOUR, MINUTE, Alert, Group, share_of_arrivals

_READY: Final = (
    Alert(
        # Pods that find no node are no targets: there is no `up` then, but perhaps that of another namespace.
        name="RerankAllDown",
        severity="page",
        hold=MINUTE,
        windows={"ago": HOUR},
        expr="""\
sum by (@by) (up{@jobs}) == 0
  or absent(up{@jobs})
  or count by (@by) (up{@jobs} offset @ago) unless on (@by) up{@jobs}
""",
        summary="no process of the service can be scraped",
        description="All are gone or stuck, or Prometheus has no target. Clients get no answer in the first case.",
    ),
    Alert(
        name="RerankDown",
        severity="ticket",
        hold=5 * MINUTE,
        expr="up{@jobs} == 0",
        summary="{{ $labels.instance }} cannot be scraped",
        description=(
            "The process is gone or its event loop is stuck. Others may serve; if none does, RerankAllDown pages."
        ),
    ),
    Alert(
        # Not ready is more than to have no model: scenes, a catalogue or the default model may be missing.
        name="RerankNoneReady",
        severity="page",
        hold=2 * MINUTE,
        expr="sum by (@by) (up{@jobs}) > 0 unless on (@by) (rerank_ready == 1)",
        summary="no process of {{ $labels.job }} is ready",
        description="A balancer sends them nothing, or requests get 503. /v2/health/ready and the log say why.",
    ),
    Alert(
        name="RerankNotReady",
        severity="ticket",
        hold=5 * MINUTE,
        expr="up{@jobs} == 1 unless on (@by, instance) (rerank_ready == 1)",
        summary="{{ $labels.instance }} runs and is not ready",
        description="It gets no traffic from a balancer. /v2/health/ready and the log say why.",
    ),
)

_ANSWERS: Final = (
    Alert(
        name="RerankRefusing",
        severity="page",
        hold=5 * MINUTE,
        windows={"window": 5 * MINUTE},
        limits={"share": 0.05},
        floors={"floor": 100},
        # Connections that are refused never become requests, but for some of `unfinished`, which count twice then: a
        # head or a batch that is refused so is among no other requests.
        expr="""\
(
  sum by (@by) (rate(rerank_rejected_total{reason=~"overloaded|shed"}[@window]))
    + sum by (@by) (rate(rerank_connections_refused_total[@window]))
)
  /
(
  sum by (@by) (rate(rerank_slo_valid_total{objective="latency"}[@window]))
    + sum by (@by) (rate(rerank_connections_refused_total[@window]))
) > @share
  and
sum by (@by) (increase(rerank_slo_valid_total{objective="latency"}[@window]))
  + sum by (@by) (increase(rerank_connections_refused_total[@window])) >= @floor
""",
        summary="{{ $value | humanizePercentage }} of what arrives is refused",
        description=(
            "Requests or connections get 503: there are more than the service can answer in time, "
            "or than its limits allow."
        ),
    ),
    Alert(
        name="RerankP99OverBudget",
        severity="ticket",
        hold=5 * MINUTE,
        windows={"window": 5 * MINUTE},
        floors={"floor": 100},
        expr="""\
rerank_latency_p99_seconds > rerank_latency_budget_seconds
  and on (@by, instance)
sum by (@by, instance) (increase(rerank_slo_valid_total{objective="latency"}[@window])) >= @floor
""",
        summary="the p99 of {{ $labels.instance }} is over its budget",
        description="The last minute's p99 is {{ $value | humanizeDuration }}.",
    ),
    Alert(
        name="RerankInternalErrors",
        severity="ticket",
        windows={"window": HOUR},
        expr="""\
sum by (@by, model, version) (increase(rerank_request_duration_seconds_count{outcome="error"}[@window])) > 0
""",
        summary="{{ $labels.job }} answers 500",
        description="This should never happen. The log has the traceback and the request id.",
    ),
    Alert(
        name="RerankBatchErrors",
        severity="ticket",
        windows={"window": HOUR},
        expr="""\
sum by (@by) (increase(rerank_batch_requests_total{outcome="error"}[@window]))
  + sum by (@by) (increase(rerank_batch_duration_seconds_count{outcome="error"}[@window])) > 0
""",
        summary="batches, or requests in them, are answered 500",
        description="This should never happen. The log has the traceback and the request id.",
    ),
    Alert(
        # Batches give way to single requests, so a few of their requests may be refused at any time.
        name="RerankBatchesRefused",
        severity="ticket",
        hold=15 * MINUTE,
        windows={"window": 15 * MINUTE},
        limits={"share": 0.1},
        floors={"floor": 100},
        expr="""\
sum by (@by) (rate(rerank_batch_requests_total{outcome="rejected"}[@window]))
  / sum by (@by) (rate(rerank_batch_requests_total{outcome!~"invalid|cancelled"}[@window])) > @share
  and
sum by (@by) (increase(rerank_batch_requests_total{outcome!~"invalid|cancelled"}[@window])) >= @floor
""",
        summary="{{ $value | humanizePercentage }} of the requests in batches are refused",
        description="Single requests leave no room for them.",
    ),
)

_ACCESS: Final = (
    Alert(
        # Somebody who guesses keys takes no valid request away, so there must be fewer of those than a day before.
        # `limited` counts: behind a proxy, or from one client, most requests with an old key are.
        name="RerankClientsLockedOut",
        severity="page",
        hold=5 * MINUTE,
        windows={"window": 5 * MINUTE, "hour": HOUR, "day": DAY},
        limits={"share": 0.5, "left": 0.5},
        floors={"floor": 100},
        expr=share_of_arrivals('rerank_auth_failures_total{reason=~"unknown|limited"}')
        + """\
> @share
  and sum by (@by) (increase(rerank_auth_failures_total{reason=~"unknown|limited"}[@window])) >= @floor
  and sum by (@by) (rate(rerank_slo_valid_total{objective="latency"}[@window]))
    < @left * sum by (@by) (rate(rerank_slo_valid_total{objective="latency"}[@hour] offset @day))
""",
        summary="{{ $value | humanizePercentage }} of what arrives has an unknown key",
        description=(
            "These clients get 401 or 429 and no list, and there are fewer than half of yesterday's valid requests. "
            "Most likely a key was removed that clients still use."
        ),
    ),
    Alert(
        name="RerankAuthFailures",
        severity="ticket",
        hold=10 * MINUTE,
        windows={"window": 5 * MINUTE},
        limits={"share": 0.05},
        floors={"floor": 20},
        expr=share_of_arrivals("rerank_auth_failures_total", "reason")
        + """\
> @share
  and sum by (@by, reason) (increase(rerank_auth_failures_total[@window])) >= @floor
""",
        summary="{{ $value | humanizePercentage }} of what arrives has no valid key: {{ $labels.reason }}",
        description="A client has a wrong key or none, or somebody guesses keys. The log has the addresses.",
    ),
)

GROUPS: Final = (
    Group("listwright-ready", _READY),
    Group("listwright-answers", _ANSWERS),
    Group("listwright-access", _ACCESS),
)
