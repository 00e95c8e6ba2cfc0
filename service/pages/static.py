"""Serve a fixed set of the package's files.

No path from a client is ever looked up on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER: Final = Path(__file__).parent
"""The folder that file names are relative to."""

MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""Content type of a file by the end of its name."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Pages load from the service alone, run no script that is written into a page, and may not be framed."""

_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cache-control": "no-cache",  # Kept, but asked about each time: an upgrade changes the files.
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class PageFile:
    """One file of the package, read at its first request and kept."""

    def __init__(self, name: str, folder: Path = FOLDER) -> None:
        self._path = folder / name
        self._media_type = MEDIA_TYPES[self._path.suffix]
        self._loaded: tuple[bytes, str] | None = None
        if not self._path.is_file():
            raise FileNotFoundError(self._path)

    async def respond(self, request: Request) -> Response:
        """Answer with the file, or with 304 if the client has it already."""
        if self._loaded is None:
            self._loaded = await asyncio.to_thread(_load, self._path)
        body, tag = self._loaded
        headers = {**_HEADERS, "etag": tag}
        if _has(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers={**headers, "content-type": self._media_type})


def static_routes(files: Mapping[str, str], folder: Path = FOLDER) -> list[Route]:
    """Make a route for each URL path in `files`, whose values are names below `folder`.

    Raises `FileNotFoundError` for a file that is not there, and `KeyError` for one of an unknown kind.
    """
    return [
        Route(path, PageFile(name, folder).respond, methods=["GET"], include_in_schema=False)
        for path, name in files.items()
    ]


def _load(path: Path) -> tuple[bytes, str]:
    body = path.read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _has(if_none_match: str, tag: str) -> bool:
    """Tell whether a header `If-None-Match` names the tag."""
    known = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return tag in known or known == ["*"]
