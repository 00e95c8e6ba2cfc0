"""The OpenAPI documents of both ports, and schemas out of them."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
from starlette.responses import Response

from service.admin import CatalogueDesk, SceneDesk, admin_app
from service.bundles.renewing import UNCHANGED, Renewal
from service.status import Models, ModelStatus
from tests.service.live import HOST, WAIT_SECONDS, listening, make_settings

Document = dict[str, Any]


async def _renew() -> Renewal:
    return UNCHANGED


NO_SCENES = SceneDesk(_renew, lambda: UNCHANGED)
"""What stands behind an admin listener whose folder has no scenes."""

NO_CATALOGUES = CatalogueDesk(_renew, lambda: UNCHANGED, list)
"""What stands behind one whose folder has no catalogues."""


@contextlib.contextmanager
def admin_port(**settings: Any) -> Iterator[int]:
    """An admin listener, as that of several workers, with no models."""

    async def describe() -> Models:
        return Models(models=[])

    async def switch(name: str, version: str | None) -> ModelStatus:
        raise AssertionError((name, version))

    async def scrape(accept: str) -> Response:
        return Response(accept)

    configured = make_settings(**settings)
    with listening(admin_app(configured, describe, switch, NO_SCENES, NO_CATALOGUES, scrape), configured) as port:
        yield port


def admin_document(**settings: Any) -> Document:
    """The document of the admin port."""
    with (
        admin_port(**settings) as port,
        urllib.request.urlopen(f"http://{HOST}:{port}/openapi.json", timeout=WAIT_SECONDS) as response,
    ):
        found: Document = json.load(response)
        return found


def resolved(document: Document, value: Any) -> Any:
    """What a reference leads to, or the value itself."""
    while isinstance(value, dict) and "$ref" in value:
        steps = value["$ref"].removeprefix("#/").split("/")
        value = document
        for step in steps:
            value = value[step]
    return value


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Path, method and operation of all that is described."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a JSON value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


def validator(document: Document, name: str) -> jsonschema_rs.Draft202012Validator:
    """What checks values against a schema of the document."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(schema)
