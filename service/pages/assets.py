"""Serve the entrance and the playground from files of this package.

The pages hold no data: all of it comes from routes that check the API key.
"""

from __future__ import annotations

from typing import Final

from starlette.routing import Route

from service.pages.static import FOLDER, MEDIA_TYPES, static_routes

FILES: Final = FOLDER / "www"
PLACE: Final = "/pages"
"""Path under which the pages find their own files."""

_PAGES: Final = {"/": "entrance.html", "/playground": "playground.html"}


def page_routes() -> list[Route]:
    """Return a route for each page and each of their files, for GET and HEAD."""
    names = (path.relative_to(FILES).as_posix() for path in sorted(FILES.rglob("*")) if path.suffix in MEDIA_TYPES)
    files = {f"{PLACE}/{name}": name for name in names if name not in _PAGES.values()}
    return static_routes({**_PAGES, **files}, FILES)
