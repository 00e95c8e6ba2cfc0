"""Build the public app from its parts.

There are no globals, so a test can build as many apps as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from operator import attrgetter
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Header
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from models.contract.serving import BATCH_PATH, RERANK_PATH
from service.access.keys import ApiKeys
from service.app_parts import (
    AppParts,
    make_admission,
    make_batches,
    make_connections,
    make_endpoint,
    make_reranker,
    watch,
)
from service.bundles.registry import Registry
from service.catalogues.live import Catalogues
from service.catalogues.source import LiveSource
from service.contract.openapi import describe_public
from service.contract.problems import NOT_READY, unavailable
from service.inference.dispatcher import Dispatcher
from service.model_detail import ModelDetail, describe_in_full, find_model
from service.pages.assets import page_routes
from service.pages.docs import docs_routes
from service.ranking.batch import BatchEndpoint
from service.ranking.endpoint import RerankEndpoint
from service.scenes.live import Scenes
from service.scenes.scene import SceneList, encode_scenes
from service.settings import Settings
from service.status import Health, Models, Slo, describe_models, describe_slo
from service.telemetry.metrics import Metrics
from service.telemetry.records import RequestObserver
from service.telemetry.request_log import RequestLog
from service.telemetry.scrape import SCRAPED
from service.telemetry.spans import Tracing
from service.transport.connections import Connections
from service.transport.errors import install_error_handlers
from service.transport.methods import answer_methods

_ABOUT = """\
In a request, null means that a value is missing, wherever one may be missing. In an answer, a missing value is left \
out, and what may be null says so. HEAD is answered as GET without the body, OPTIONS with `Allow`. Errors are RFC 9457 \
problems, told apart by `type`."""

SCENES_PATH: Final = "/v1/scenes"


class PublicApp(FastAPI):
    """Answer `POST /v1/rerank` and its batches ahead of all middleware and routing.

    Those take longer than checking a request does. FastAPI serves all other routes; an endpoint turns every fault of
    its own into an answer.
    """

    def __init__(
        self,
        endpoint: RerankEndpoint,
        batches: BatchEndpoint,
        settings: Settings,
        connections: Connections,
        *,
        keyed: bool,
    ) -> None:
        super().__init__(
            title="Listwright",
            version=version("listwright"),
            summary="Re-ranks candidate lists for click, conversion and GMV at once, inside a latency budget.",
            description=_ABOUT,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            generate_unique_id_function=attrgetter("name"),
            docs_url=None,  # From our own files, see `pages`.
            redoc_url=None,
            redirect_slashes=False,  # A redirect would go to whatever `Host` says.
        )
        self.endpoint = endpoint
        self._batches = batches
        self._settings = settings
        self._keyed = keyed
        self.connections = connections
        self.router.routes.append(Route(RERANK_PATH, endpoint, methods=["POST"]))  # Answers 405 to other methods.
        self.router.routes.append(Route(BATCH_PATH, batches, methods=["POST"]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == RERANK_PATH and scope["method"] == "POST":
            await self.endpoint(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == BATCH_PATH and scope["method"] == "POST":
            await self._batches(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()  # FastAPI keeps what it returns.
            most = self._settings.max_candidates
            describe_public(document, max_candidates=most, keyed=self._keyed, answers={SCENES_PATH: SceneList})
        assert self.openapi_schema is not None
        return self.openapi_schema


def create_app(
    *,
    settings: Settings,
    registry: Registry,
    metrics: Metrics,
    dispatcher: Dispatcher,
    observers: Sequence[RequestObserver] = (),
    scenes: Scenes | None = None,
    catalogues: Catalogues | None = None,
    live: LiveSource | None = None,
    keys: ApiKeys | None = None,
    request_log: RequestLog | None = None,
    tracing: Tracing | None = None,
) -> PublicApp:
    """Build the app. `metrics` observes every request, and so do `request_log` and `observers`.

    Without `scenes`, a request that names one is told that they are still being loaded. `catalogues` are those of
    items, by default none. `live` is the source of their live values, and `tracing` exports traces; whoever made them
    closes them. Missing `keys` are those of the settings.
    """
    parts = AppParts(
        settings=settings,
        registry=registry,
        metrics=metrics,
        dispatcher=dispatcher,
        admission=make_admission(settings),
        observers=observers,
        scenes=Scenes(retry_after_seconds=settings.retry_after_seconds) if scenes is None else scenes,
        catalogues=Catalogues() if catalogues is None else catalogues,
        live=live,
        keys=ApiKeys.of(settings) if keys is None else keys,
        request_log=request_log,
        tracing=tracing,
    )
    watch(parts)
    reranker = make_reranker(parts)
    endpoint, batches = make_endpoint(parts, reranker), make_batches(parts, reranker)
    app = PublicApp(endpoint, batches, settings, make_connections(parts), keyed=parts.keys.needed)
    install_error_handlers(app, None if parts.refusals is None else parts.refusals.add)
    answer_methods(app)
    _add_health(app, registry, settings)
    _add_status(app, settings, registry, metrics, parts.keys, parts.catalogues)
    _add_scenes(app, parts.scenes, parts.keys)
    if settings.pages:
        app.router.routes.extend([*page_routes(), *docs_routes()])
    return app


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


def _add_status(
    app: FastAPI,
    settings: Settings,
    registry: Registry,
    metrics: Metrics,
    keys: ApiKeys,
    catalogues: Catalogues,
) -> None:
    guarded = [Depends(keys.guard)]

    @app.get("/v1/models", tags=["status"], summary="Live models", dependencies=guarded)
    async def list_models() -> Models:
        return describe_models(registry, catalogues)

    @app.get("/v1/models/{name}", tags=["status"], summary="One live model in full", dependencies=guarded)
    async def model(name: str, version: str | None = None) -> ModelDetail:
        return describe_in_full(find_model(registry, name, version), registry, settings, catalogues)

    @app.get("/v1/slo", tags=["status"], summary="Objectives and the last minutes", dependencies=guarded)
    async def get_slo() -> Slo:
        return describe_slo(await metrics.gather_windows(), settings.budget_seconds)

    @app.get("/metrics", tags=["status"], summary="Prometheus metrics", response_class=Response, responses=SCRAPED)
    async def get_metrics(accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
        return await metrics.respond(accept)


def _add_scenes(app: FastAPI, scenes: Scenes, keys: ApiKeys) -> None:
    @app.get(SCENES_PATH, tags=["status"], summary="Live scenes", dependencies=[Depends(keys.guard)])
    async def list_scenes() -> Response:
        found = [scenes.live[name] for name in sorted(scenes.live)]
        return Response(encode_scenes(found), media_type="application/json")
