"""Build the admin app, which lists and reloads models, and reloads scenes, catalogues and keys.

It has a listener of its own, on loopback unless the settings say otherwise. One process alone, or the supervisor of
several, does the work behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from operator import attrgetter
from typing import Annotated, Any, Final, Self, TypeVar

from fastapi import Depends, FastAPI, Header
from starlette.requests import Request
from starlette.responses import Response

from models.contract.catalogue.manifest import CatalogueManifest
from service.access.keys import ApiKeys
from service.access.sources import Access
from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.bundles.renewing import Renewal
from service.bundles.switching import Switcher
from service.catalogues.live import Catalogues
from service.contract.openapi import describe_admin
from service.contract.orders import Reload, decode_reload
from service.contract.problems import (
    CATALOGUE_REFUSED,
    KEYS_REFUSED,
    NOT_READY,
    SCENES_REFUSED,
    Problem,
    ProblemKind,
    unavailable,
)
from service.pages.docs import docs_routes
from service.settings import Settings
from service.status import (
    CatalogueReload,
    KeyReload,
    Models,
    ModelStatus,
    Reloaded,
    SceneReload,
    describe_catalogues,
    describe_model,
    describe_models,
    describe_scenes,
)
from service.telemetry.exposition import Scrape
from service.telemetry.scrape import SCRAPED
from service.transport.asgi import check_media_type, read_call
from service.transport.bounds import BoundedApp
from service.transport.compression import content_coding, decompress
from service.transport.errors import LogRefusal, install_error_handlers
from service.transport.methods import answer_methods

T = TypeVar("T")

RELOAD_PATH: Final = "/admin/v1/reload"


Describe = Callable[[], Awaitable[Models]]
"""Describes the live models."""


@dataclass(frozen=True)
class SceneDesk:
    """Reloads the scenes alone, and tells what the last reload made of them."""

    reload: Callable[[], Awaitable[Renewal]]
    last: Callable[[], Renewal]

    @classmethod
    def of(cls, switcher: Switcher[Any]) -> Self:
        """Make the desk of what switches scenes."""

        async def reload() -> Renewal:
            return await switcher.reload_scenes()

        return cls(reload, lambda: switcher.scene_outcome)


@dataclass(frozen=True)
class CatalogueDesk:
    """Reloads the catalogues alone, and tells what came of the last reload and what serves."""

    reload: Callable[[], Awaitable[Renewal]]
    last: Callable[[], Renewal]
    served: Callable[[], Sequence[CatalogueManifest]]

    @classmethod
    def of(cls, switcher: Switcher[Any]) -> Self:
        """Make the desk of what switches catalogues."""

        async def reload() -> Renewal:
            return await switcher.reload_catalogues()

        return cls(reload, lambda: switcher.catalogue_files.outcome, lambda: switcher.catalogue_files.served)

    def describe(self, outcome: Renewal) -> CatalogueReload:
        """Describe what came of a reload, and what serves now."""
        return describe_catalogues(outcome, self.served())


SwitchModel = Callable[[str, str | None], Awaitable[ModelStatus]]
"""Loads a version (newest if None) aside, checks it, then switches. Raises `Problem`."""


class AdminApp(FastAPI):
    """Describe the problems of its operations, and if they need a key."""

    def __init__(self, keys: ApiKeys) -> None:
        super().__init__(
            title="Listwright admin",
            version=version("listwright"),
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            generate_unique_id_function=attrgetter("name"),
            dependencies=[Depends(keys.guard)],
        )
        self._keyed = keys.needed

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()  # FastAPI keeps what it returns.
            describe_admin(document, keyed=self._keyed, bodies={RELOAD_PATH: Reload})
        assert self.openapi_schema is not None
        return self.openapi_schema


class OrderReader:
    """Read an order to load a bundle by the public port's rules for bodies.

    A body may have `largest` bytes, before and after decompression.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest

    async def __call__(self, request: Request) -> Reload:
        """Return the order. Raises `Problem` (400, 413, 415, 422)."""
        call = read_call(request.scope)
        check_media_type(call)
        coding = content_coding(call)
        body = await request.body()
        return decode_reload(body if coding is None else await decompress(body, coding, self._largest))


def create_admin_app(
    *,
    settings: Settings,
    registry: Registry,
    loader: Loader,
    catalogues: Catalogues,
    access: Access | None = None,
    log: LogRefusal | None = None,
) -> FastAPI:
    """Build the app of a process that serves alone."""

    async def describe() -> Models:
        return describe_models(registry, catalogues)

    async def reload(name: str, version: str | None) -> ModelStatus:
        return describe_model(await loader.reload(name, version), registry, catalogues)

    desks = SceneDesk.of(loader), CatalogueDesk.of(loader)
    return admin_app(settings, describe, reload, *desks, access=access, log=log)


def admin_app(
    settings: Settings,
    describe: Describe,
    switch: SwitchModel,
    scenes: SceneDesk,
    catalogues: CatalogueDesk,
    scrape: Scrape | None = None,
    access: Access | None = None,
    log: LogRefusal | None = None,
) -> FastAPI:
    """Build the app; with `scrape` it shows metrics as well.

    Missing `access` is as the settings say. `log` hears of missing and wrong keys.
    """
    access = Access.open(settings) if access is None else access
    app = AdminApp(access.admin)
    answer_methods(app)
    app.add_middleware(BoundedApp, settings=settings)
    install_error_handlers(app, log)
    if settings.pages:
        app.router.routes.extend(docs_routes())

    @app.get("/admin/v1/models", tags=["admin"], summary="Live models")
    async def list_models() -> Models:
        return await describe()

    order_of = Depends(OrderReader(settings.max_body_bytes))

    @app.post(RELOAD_PATH, tags=["admin"], summary="Load a bundle aside, check it, then switch to it")
    async def reload(order: Reload = order_of) -> Reloaded:
        status = await _unless_stopped(switch(order.model, order.version))
        scenes_found, catalogues_found = describe_scenes(scenes.last()), catalogues.describe(catalogues.last())
        return Reloaded(**status.model_dump(), scenes=scenes_found, catalogues=catalogues_found)

    @app.post("/admin/v1/scenes/reload", tags=["admin"], summary="Read the file of scenes, check it, then switch to it")
    async def reload_scenes() -> SceneReload:
        outcome = await _unless_stopped(scenes.reload())
        _check(outcome, SCENES_REFUSED, settings)
        return describe_scenes(outcome)

    @app.post("/admin/v1/catalogue/reload", tags=["admin"], summary="Check new catalogues, then switch to them")
    async def reload_catalogues() -> CatalogueReload:
        outcome = await _unless_stopped(catalogues.reload())
        _check(outcome, CATALOGUE_REFUSED, settings)
        return catalogues.describe(outcome)

    @app.post("/admin/v1/keys/reload", tags=["admin"], summary="Read the files of API keys, then switch to them")
    async def reload_keys() -> KeyReload:
        outcome = await _unless_stopped(access.reload())
        if outcome.problem is not None:
            raise Problem(KEYS_REFUSED, outcome.problem)
        return KeyReload(result=outcome.result)

    if scrape is not None:

        @app.get(
            "/metrics", tags=["status"], summary="Metrics of all workers", response_class=Response, responses=SCRAPED
        )
        async def get_metrics(accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
            return await scrape(accept)

    return app


def _check(outcome: Renewal, kind: ProblemKind, settings: Settings) -> None:
    """Raise `Problem` for what was refused.

    It is of this kind, or a 503 if the reason is none of the files'.
    """
    if outcome.fault:
        raise unavailable(NOT_READY, str(outcome.problem), settings.retry_after_seconds)
    if outcome.problem is not None:
        raise Problem(kind, outcome.problem)


async def _unless_stopped(work: Awaitable[T]) -> T:
    """Return the result of a reload. Raises `Problem` (503) once the drain limit is over."""
    try:
        return await work
    except asyncio.CancelledError:
        raise Problem(NOT_READY, "the service is shutting down") from None
