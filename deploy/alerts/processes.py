"""Alert on processes that end, limits that are near, and heads that are refused."""

from __future__ import annotations

from typing import Final

from deploy.alerts.rules import HOUR, MINUTE, Alert, Group, share_of_arrivals

_WORKERS: Final = (
    Alert(
        name="RerankEngineHung",
        severity="ticket",
        windows={"window": 15 * MINUTE},
        expr="sum by (@by, instance) (increase(rerank_engine_hangs_total[@window])) > 0",
        summary="a run of the model hung in {{ $labels.instance }}",
        description="The process that held it ends and is replaced. The log names the model.",
    ),
    Alert(
        # One process alone: what it counted is gone with it. One restart may be an update, on a host or in Compose.
        name="RerankRestarts",
        severity="ticket",
        windows={"window": HOUR},
        limits={"restarts": 1},
        expr="changes(process_start_time_seconds{@jobs}[@window]) > @restarts",
        summary="{{ $labels.instance }} has been restarted {{ $value }} times",
        description=(
            "The process ends and is started again: its engine hung (exit status 70), it was killed, or it crashed."
        ),
    ),
    Alert(
        name="RerankWorkerEnded",
        severity="ticket",
        windows={"window": 15 * MINUTE},
        expr="sum by (@by, instance, reason) (increase(rerank_workers_ended_total[@window])) > 0",
        summary="a worker of {{ $labels.instance }} ended: {{ $labels.reason }}",
        description=(
            "It is replaced, and the requests that it held are lost. More than ten in a minute end the service."
        ),
    ),
    Alert(
        name="RerankWorkersMissing",
        severity="ticket",
        hold=2 * MINUTE,
        expr="rerank_workers_live < rerank_workers_wanted",
        summary="{{ $labels.instance }} has too few workers: {{ $value }}",
        description=(
            "A worker that ended has not been replaced: its successor cannot load the live versions, or dies as well."
        ),
    ),
)

_ENGINES: Final = (
    Alert(
        name="RerankEngineEnded",
        severity="ticket",
        windows={"window": 15 * MINUTE},
        expr="sum by (@by, instance, reason) (increase(rerank_engines_ended_total[@window])) > 0",
        summary="an engine process of {{ $labels.instance }} ended: {{ $labels.reason }}",
        description=(
            "It is replaced; until then its workers answer without the model. "
            "More than ten in a minute end the service."
        ),
    ),
    Alert(
        name="RerankEnginesMissing",
        severity="ticket",
        hold=2 * MINUTE,
        expr="rerank_engines_live < rerank_engines_wanted",
        summary="{{ $labels.instance }} has too few engine processes: {{ $value }}",
        description=(
            "One that ended has not been replaced: its successor cannot load the live versions, or dies as well. "
            "Its workers answer without the model."
        ),
    ),
)

_LIMITS: Final = (
    Alert(
        name="RerankDescriptorsShort",
        severity="ticket",
        hold=5 * MINUTE,
        limits={"share": 0.8},
        expr="rerank_open_descriptors / rerank_descriptor_limit > @share",
        summary="a process of {{ $labels.instance }} uses {{ $value | humanizePercentage }} of its file descriptors",
        description="At the limit new connections are refused, and bundles and catalogues cannot be opened.",
    ),
    Alert(
        name="RerankConnectionsRefused",
        severity="ticket",
        hold=5 * MINUTE,
        windows={"window": 5 * MINUTE},
        expr="sum by (@by, instance, reason) (rate(rerank_connections_refused_total[@window])) > 0",
        summary="{{ $labels.instance }} refuses connections: {{ $labels.reason }}",
        description="There are more connections, or more bytes of unfinished requests, than the limits allow.",
    ),
    Alert(
        name="RerankHeadsRefused",
        severity="ticket",
        hold=10 * MINUTE,
        windows={"window": 5 * MINUTE},
        limits={"share": 0.01},
        floors={"floor": 20},
        expr=share_of_arrivals("rerank_heads_refused_total", "reason")
        + """\
> @share
  and sum by (@by, reason) (increase(rerank_heads_refused_total[@window])) >= @floor
""",
        summary="{{ $value | humanizePercentage }} of what arrives has a head that is refused: {{ $labels.reason }}",
        description=(
            "No handler sees these requests, and no objective counts them. "
            "A client or proxy sends what HTTP does not allow."
        ),
    ),
)

GROUPS: Final = (
    Group("listwright-workers", (*_WORKERS, *_ENGINES)),
    Group("listwright-limits", _LIMITS),
)
