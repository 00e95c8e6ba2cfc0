"""Serve the entrance and the playground from files of this package.

They are read once and stand at fixed paths; no path of a client is ever looked up on disk. The pages hold no data: all
of it comes from routes that check the API key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FILES: Final = Path(__file__).with_name("www")
PLACE: Final = "/pages"
"""Path under which the pages find their own files."""

_PAGES: Final = {"/": "entrance.html", "/playground": "playground.html"}
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # Asked for again at every load, so that modules of two releases never meet; mostly answered by a 304.
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to be sent."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> Asset:
        """Read a file. Its tag is the hash of its content."""
        content = path.read_bytes()
        return cls(content, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    async def respond(self, request: Request) -> Response:
        """Return the file, or 304 if the client has it."""
        headers = {**_HEADERS, "etag": self.etag}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers={**headers, "content-type": self.media_type})


def page_routes() -> list[Route]:
    """Return a route for each page and each of their files, for GET and HEAD."""
    places = {path: FILES / name for path, name in _PAGES.items()}
    for file in sorted(FILES.rglob("*.*")):
        if file.suffix in _MEDIA_TYPES and file.name not in _PAGES.values():
            places[f"{PLACE}/{file.relative_to(FILES).as_posix()}"] = file
    return [
        Route(path, Asset.read(file).respond, methods=["GET"], include_in_schema=False) for path, file in places.items()
    ]
