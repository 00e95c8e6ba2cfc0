"""Build the admin app, which lists and reloads models.

It has a listener of its own, on loopback unless the settings say otherwise. One process alone, or the supervisor of
several, does the work behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

from fastapi import Depends, FastAPI, Header
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.settings import Settings
from service.status import Models, ModelStatus, describe_model, describe_models
from service.telemetry.exposition import metrics_response
from service.transport.auth import ApiKeys
from service.transport.errors import install_error_handlers


class ReloadRequest(BaseModel):
    """Name the bundle to load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, max_length=128)
    version: str | None = Field(None, min_length=1, max_length=128, description="Missing: the newest in the folder.")


class Administration(Protocol):
    """Do the work that the admin app is asked for."""

    async def models(self) -> Models:
        """Describe the live models."""
        ...

    async def reload(self, name: str, version: str | None) -> ModelStatus:
        """Load a version (newest if None) aside, check it, then switch. Raises `Problem`."""
        ...


class _OneProcess:
    """Change the process that serves, from within it."""

    def __init__(self, registry: Registry, loader: Loader) -> None:
        self._registry = registry
        self._loader = loader

    async def models(self) -> Models:
        return describe_models(self._registry)

    async def reload(self, name: str, version: str | None) -> ModelStatus:
        return describe_model(await self._loader.reload(name, version), self._registry)


def create_admin_app(*, settings: Settings, registry: Registry, loader: Loader) -> FastAPI:
    """Build the app of a process that serves alone."""
    return admin_app(settings, _OneProcess(registry, loader))


def admin_app(
    settings: Settings, administration: Administration, scrape: Callable[[], CollectorRegistry] | None = None
) -> FastAPI:
    """Build the app, with the same API keys; with `scrape` it shows metrics as well."""
    keys = ApiKeys(settings.api_keys)

    def authorised(authorization: Annotated[str | None, Header()] = None) -> None:
        keys.check(authorization)

    app = FastAPI(title="Listwright admin", redoc_url=None, dependencies=[Depends(authorised)])
    install_error_handlers(app)

    @app.get("/admin/v1/models", summary="Live models")
    async def models() -> Models:
        return await administration.models()

    @app.post("/admin/v1/reload", summary="Load a bundle aside, check it, then switch to it")
    async def reload(order: ReloadRequest) -> ModelStatus:
        return await administration.reload(order.model, order.version)

    if scrape is not None:

        @app.get("/metrics", summary="Prometheus metrics of all workers", response_class=Response)
        async def metrics(accept: Annotated[str, Header()] = "") -> Response:
            return metrics_response(scrape(), accept)

    return app
