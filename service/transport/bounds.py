"""Hold the admin listener to the public one's limits, and to its own hosts.

A web page can make a browser send requests to any address, under a name that the page's owner lets point there (DNS
rebinding). The `Host` field then has that name, which nobody has allowed here.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.contract.problems import MISDIRECTED, OVERLOADED, Problem, unavailable
from service.settings import Settings
from service.transport.asgi import Call, read_body, read_call
from service.transport.errors import problem_response

_LOOPBACK_NAMES: Final = frozenset(("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"))


class BoundedApp:
    """Passes on whole requests to its own hosts, and only so many at once."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._hosts = _LOOPBACK_NAMES | {settings.admin_host.lower(), *settings.admin_hosts}
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = read_call(scope)
        try:
            self._check_host(call, scope)
            body = await self._read(call, receive)
            await self._answer(scope, _whole(body, receive), send)
        except ClientDisconnect:
            return
        except Problem as problem:
            await problem_response(problem, call.request_id)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Raises `Problem` (503) if it is one too many."""
        settings = self._settings
        if self._in_progress >= settings.max_in_flight:
            detail = "as many requests as allowed are in progress"
            raise unavailable(OVERLOADED, detail, settings.retry_after_seconds)
        self._in_progress += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_progress -= 1

    def _check_host(self, call: Call, scope: Scope) -> None:
        """Raise `Problem` (421) for a request to another host."""
        host = call.header(b"host")
        server = scope.get("server")
        if host is not None and not is_allowed(host, self._hosts, server[0] if server else None):
            detail = f"the admin listener does not answer under {host[:80]!r} (LISTWRIGHT_ADMIN_HOSTS)"
            raise Problem(MISDIRECTED, detail)

    async def _read(self, call: Call, receive: Receive) -> bytes:
        settings = self._settings
        return await read_body(call, receive, limit=settings.max_body_bytes, seconds=settings.read_timeout_seconds)


def is_allowed(host: str, names: Collection[str], own_address: str | None) -> bool:
    """Tell whether a `Host` is in `names`, a loopback address, or the socket's own address."""
    name = _without_port(host).lower().removesuffix(".")
    if name in names:
        return True
    try:
        address = ip_address(name)
        return address.is_loopback or (own_address is not None and address == ip_address(own_address.split("%")[0]))
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _whole(body: bytes, receive: Receive) -> Receive:
    """Make a `receive` that gives the whole body, then what follows it."""
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once
