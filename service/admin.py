"""The admin app: what changes the service. It has a listener of its own, on loopback unless told otherwise."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Header
from pydantic import BaseModel, ConfigDict, Field

from service.auth import ApiKeys
from service.errors import install_error_handlers
from service.loader import Loader
from service.registry import Registry
from service.settings import Settings
from service.status import Models, ModelStatus, describe_model, describe_models


class Reload(BaseModel):
    """Which bundle to load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, max_length=128)
    version: str | None = Field(None, min_length=1, max_length=128, description="Missing: the newest in the folder.")


def create_admin_app(*, settings: Settings, registry: Registry, loader: Loader) -> FastAPI:
    """The app; API keys, where they are set, are needed here too."""
    keys = ApiKeys(settings.api_keys)

    def authorised(authorization: Annotated[str | None, Header()] = None) -> None:
        keys.check(authorization)

    app = FastAPI(title="Listwright admin", redoc_url=None, dependencies=[Depends(authorised)])
    install_error_handlers(app)

    @app.get("/admin/v1/models", summary="Live models")
    async def models() -> Models:
        return describe_models(registry)

    @app.post("/admin/v1/reload", summary="Load a bundle aside, check it, then switch to it")
    async def reload(order: Reload) -> ModelStatus:
        model = await loader.reload(order.model, order.version)
        return describe_model(model, registry)

    return app
