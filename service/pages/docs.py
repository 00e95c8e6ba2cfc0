"""Serve the contract as a page: Swagger UI, from files of the package."""

from __future__ import annotations

from starlette.routing import Route

from service.pages.static import static_routes

DOCS_PATH = "/docs"
_VENDOR = "vendor/swagger_ui"


def docs_routes() -> list[Route]:
    """Make the routes of the page and of what it loads.

    The page reads `openapi.json` beside itself, so it works under any prefix that a proxy removes.
    """
    return static_routes(
        {
            DOCS_PATH: "docs.html",
            f"{DOCS_PATH}/start.js": "docs.js",
            f"{DOCS_PATH}/swagger-ui-bundle.js": f"{_VENDOR}/swagger-ui-bundle.js",
            f"{DOCS_PATH}/swagger-ui.css": f"{_VENDOR}/swagger-ui.css",
        }
    )
