"""Build the public app from its parts.

There are no globals, so a test can build as many apps as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from models.contract.serving import RERANK_PATH
from service.bundles.registry import Registry
from service.contract.openapi import add_rerank
from service.contract.problems import NOT_READY, unavailable
from service.inference.dispatcher import Dispatcher
from service.pages.assets import page_routes
from service.ranking.endpoint import EndpointOptions, RerankEndpoint
from service.ranking.rerank import Reranker
from service.ranking.shadow import Shadow
from service.settings import Settings
from service.status import Health, Models, Slo, describe_models, describe_slo
from service.telemetry.metrics import Metrics
from service.telemetry.records import RequestObserver
from service.timing.admission import Admission, AdmissionOptions
from service.transport.auth import ApiKeys
from service.transport.connections import Connections
from service.transport.errors import install_error_handlers
from service.transport.limits import Limits


class PublicApp(FastAPI):
    """Answer `POST /v1/rerank` ahead of all middleware and routing.

    Those take longer than checking a request does. FastAPI serves all other routes; the endpoint turns every fault of
    its own into an answer.
    """

    def __init__(self, endpoint: RerankEndpoint, max_candidates: int, connections: Connections) -> None:
        super().__init__(
            title="Listwright",
            version=version("listwright"),
            description="Re-ranks candidate lists for click, conversion and GMV at once, inside a latency budget.",
            redoc_url=None,
            redirect_slashes=False,  # A redirect would go to whatever `Host` says.
        )
        self.endpoint = endpoint
        self._max_candidates = max_candidates
        self.connections = connections
        self.router.routes.append(Route(RERANK_PATH, endpoint, methods=["POST"]))  # Answers 405 to other methods.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == RERANK_PATH and scope["method"] == "POST":
            await self.endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()  # FastAPI keeps what it returns.
            add_rerank(document, max_candidates=self._max_candidates)
        assert self.openapi_schema is not None
        return self.openapi_schema


def create_app(
    *,
    settings: Settings,
    registry: Registry,
    metrics: Metrics,
    dispatcher: Dispatcher,
    observers: Sequence[RequestObserver] = (),
) -> PublicApp:
    """Build the app. `metrics` observes every request, and so do `observers`."""
    keys = ApiKeys(settings.api_keys)
    admission = Admission(admission_options(settings))
    metrics.watch(
        in_flight=lambda: admission.in_flight,
        queue_depth=lambda: dispatcher.depth,
        overloaded=lambda: admission.overloaded,
    )
    shadow = _make_shadow(settings, registry, metrics, dispatcher, admission)
    endpoint = RerankEndpoint(
        options=EndpointOptions(
            max_body_bytes=settings.max_body_bytes,
            read_timeout_seconds=settings.read_timeout_seconds,
            budget_seconds=settings.budget_seconds,
            enforce_deadlines=settings.deadline_mode == "enforce",
            retry_after_seconds=settings.retry_after_seconds,
        ),
        keys=keys,
        admission=admission,
        reranker=Reranker(registry=registry, dispatcher=dispatcher, max_candidates=settings.max_candidates),
        observers=(metrics.observe, *observers),
        afterwards=None if shadow is None else shadow.offer,
    )
    connections = Connections(Limits.of(settings), on_refuse=metrics.connection_refused)
    metrics.watch_connections(
        connections=lambda: connections.open, unfinished_bytes=lambda: connections.unfinished.total
    )
    app = PublicApp(endpoint, settings.max_candidates, connections)
    install_error_handlers(app)
    _add_health(app, registry, settings)
    _add_status(app, settings, registry, metrics, keys)
    if settings.pages:
        app.router.routes.extend(page_routes())
    return app


def _make_shadow(
    settings: Settings, registry: Registry, metrics: Metrics, dispatcher: Dispatcher, admission: Admission
) -> Shadow | None:
    """Make the comparison with a second model, if the settings ask for it."""
    if settings.shadow_bundle is None or not settings.shadow_share:
        return None
    name, version = settings.shadow_bundle
    shadow = Shadow(
        name=name,
        version=version,
        share=settings.shadow_share,
        registry=registry,
        dispatcher=dispatcher,
        admission=admission,
        budget_seconds=settings.budget_seconds,
        observe=metrics.observe_shadow,
    )
    registry.on_drain(shadow.stop)
    return shadow


def admission_options(settings: Settings) -> AdmissionOptions:
    """Read the options of admission from the settings."""
    return AdmissionOptions(
        limit=settings.max_in_flight,
        target_seconds=settings.queue_target_ms / 1e3,
        interval_seconds=settings.queue_interval_ms / 1e3,
        enforce=settings.deadline_mode == "enforce",
    )


def _add_health(app: FastAPI, registry: Registry, settings: Settings) -> None:
    @app.get("/v2/health/live", tags=["health"], summary="The process runs")
    async def live() -> Health:
        return Health()

    @app.get("/v2/health/ready", tags=["health"], summary="Requests will be answered with lists; 503 says why not")
    async def ready() -> Health:
        reason = registry.why_not_ready()
        if reason is not None:
            raise unavailable(NOT_READY, reason, settings.retry_after_seconds)
        return Health()


def _add_status(app: FastAPI, settings: Settings, registry: Registry, metrics: Metrics, keys: ApiKeys) -> None:
    guarded = [Depends(keys.check)]

    @app.get("/v1/models", tags=["status"], summary="Live models", dependencies=guarded)
    async def models() -> Models:
        return describe_models(registry)

    @app.get("/v1/slo", tags=["status"], summary="Objectives and the last minute", dependencies=guarded)
    async def slo() -> Slo:
        return describe_slo(metrics.window, settings.budget_seconds)

    @app.get("/metrics", tags=["status"], summary="Prometheus metrics", response_class=Response)
    async def scrape(accept: Annotated[str, Header()] = "") -> Response:
        return await metrics.respond(accept)
