"""Make the endpoints of the public app from the parts that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.contract.serving import BATCH_PATH, RERANK_PATH
from service.access.keys import ApiKeys
from service.bundles.registry import Registry
from service.catalogues.live import Catalogues
from service.catalogues.source import LiveSource
from service.inference.dispatcher import Dispatcher
from service.ranking.batch import BatchEndpoint, BatchOptions
from service.ranking.endpoint import EndpointOptions, RerankEndpoint
from service.ranking.refusing import HeadRefusals
from service.ranking.rerank import Reranker
from service.ranking.shadow import Shadow
from service.scenes.live import Scenes
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.records import RequestObserver
from service.telemetry.refusal_log import RefusalLog
from service.telemetry.request_log import RequestLog
from service.telemetry.spans import Tracing
from service.timing.admission import Admission, AdmissionOptions
from service.transport.connections import Connections
from service.transport.limits import Limits


@dataclass(frozen=True, slots=True)
class AppParts:
    """Hold what the endpoints of one app share."""

    settings: Settings
    registry: Registry
    metrics: Metrics
    dispatcher: Dispatcher
    admission: Admission
    observers: Sequence[RequestObserver]
    scenes: Scenes
    catalogues: Catalogues
    live: LiveSource | None
    keys: ApiKeys
    request_log: RequestLog | None
    tracing: Tracing | None

    @property
    def refusals(self) -> RefusalLog | None:
        """The log of refused requests, if requests are logged."""
        return None if self.request_log is None else self.request_log.refusals

    @property
    def logging_observers(self) -> Sequence[RequestObserver]:
        """The log of requests, if there is one, and the observers from outside."""
        logs = () if self.request_log is None else (self.request_log.observe,)
        return (*logs, *self.observers)


def make_admission(settings: Settings) -> Admission:
    """Make the admission of requests as the settings say."""
    return Admission(
        AdmissionOptions(
            limit=settings.max_in_flight,
            target_seconds=settings.queue_target_ms / 1e3,
            interval_seconds=settings.queue_interval_ms / 1e3,
            enforce=settings.deadline_mode == "enforce",
        )
    )


def watch(parts: AppParts) -> None:
    """Let the metrics follow the keys, and read the state of the parts when scraped."""
    metrics, admission = parts.metrics, parts.admission
    parts.keys.on_swap(metrics.keys.swapped)
    parts.keys.on_failure(metrics.access.failed)
    metrics.watch(
        in_flight=lambda: admission.in_flight,
        queue_depth=lambda: parts.dispatcher.depth,
        overloaded=lambda: admission.overloaded,
        ready=lambda: parts.registry.why_not_ready() is None,
    )


def make_reranker(parts: AppParts) -> Reranker:
    """Make what ranks the requests of both endpoints."""
    return Reranker(
        registry=parts.registry,
        dispatcher=parts.dispatcher,
        max_candidates=parts.settings.max_candidates,
        warnings=parts.settings.warnings,
        scenes=parts.scenes,
        catalogues=parts.catalogues,
        live=parts.live,
        on_error=parts.metrics.model_failed,
    )


def make_endpoint(parts: AppParts, reranker: Reranker) -> RerankEndpoint:
    """Make the endpoint of single requests, with the shadow if the settings ask for one."""
    refusals, shadow = parts.refusals, _make_shadow(parts)
    return RerankEndpoint(
        options=_endpoint_options(parts.settings),
        keys=parts.keys,
        admission=parts.admission,
        reranker=reranker,
        observers=(parts.metrics.observe, *parts.logging_observers),
        refusals=HeadRefusals(
            retry_after_seconds=parts.settings.retry_after_seconds,
            count=parts.metrics.refused,
            log=None if refusals is None else refusals.add,
            observers=parts.observers,
            tracing=parts.tracing,
        ),
        afterwards=None if shadow is None else shadow.offer,
        tracing=parts.tracing,
    )


def make_batches(parts: AppParts, reranker: Reranker) -> BatchEndpoint:
    """Make the endpoint of batches.

    Each request has the options of a single one, but its own budget.
    """
    settings, limits, metrics = parts.settings, Limits.of(parts.settings), parts.metrics
    batch_logs = () if parts.request_log is None else (parts.request_log.observe_batch,)
    return BatchEndpoint(
        options=BatchOptions(
            request=replace(_endpoint_options(settings), budget_seconds=settings.batch_budget_seconds),
            max_body_bytes=limits.batch_bytes,
            at_once=settings.max_batch,
            most=settings.max_in_flight,
            most_bytes=limits.unfinished_bytes,
        ),
        keys=parts.keys,
        admission=parts.admission,
        reranker=reranker,
        batch_observers=(metrics.batches.observe_batch, *batch_logs),
        observers=(metrics.batches.observe_request, metrics.keys.observe, *parts.logging_observers),
        tracing=parts.tracing,
    )


def make_connections(parts: AppParts) -> Connections:
    """Make the limits of connections, whose state the metrics read."""
    metrics, refusals = parts.metrics, parts.refusals
    connections = Connections(
        Limits.of(parts.settings),
        on_refuse=metrics.connection_refused,
        on_head=(metrics.head_refused,) if refusals is None else (metrics.head_refused, refusals.head),
        recorded_paths=(RERANK_PATH, BATCH_PATH),
    )
    metrics.watch_connections(
        connections=lambda: connections.open, unfinished_bytes=lambda: connections.unfinished.total
    )
    return connections


def _make_shadow(parts: AppParts) -> Shadow | None:
    """Make the comparison with a second model, if the settings ask for it."""
    settings = parts.settings
    if settings.shadow_bundle is None or not settings.shadow_share:
        return None
    name, version = settings.shadow_bundle
    shadow = Shadow(
        name=name,
        version=version,
        share=settings.shadow_share,
        registry=parts.registry,
        dispatcher=parts.dispatcher,
        admission=parts.admission,
        budget_seconds=settings.budget_seconds,
        observe=parts.metrics.observe_shadow,
        catalogues=parts.catalogues,
        live=parts.live,
        tracing=parts.tracing,
    )
    parts.registry.on_drain(shadow.stop)
    return shadow


def _endpoint_options(settings: Settings) -> EndpointOptions:
    """Read the options of a request from the settings."""
    return EndpointOptions(
        max_body_bytes=settings.max_body_bytes,
        read_timeout_seconds=settings.read_timeout_seconds,
        budget_seconds=settings.budget_seconds,
        enforce_deadlines=settings.deadline_mode == "enforce",
        retry_after_seconds=settings.retry_after_seconds,
    )
