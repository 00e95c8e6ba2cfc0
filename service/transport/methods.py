"""Answer HEAD as GET, OPTIONS with what a path allows, and other methods with 405.

There are no CORS fields in any answer: pages of other origins are not meant to read the service.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.contract.problems import METHOD_NOT_ALLOWED, Problem
from service.transport.asgi import read_call
from service.transport.errors import problem_response

_WHOLE_SERVER: Final = "*"


class MethodsApp:
    """Passes on requests whose method the path has.

    A HEAD goes on as a GET; uvicorn, which has the first scope, leaves out the body.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer OPTIONS and what is not allowed, and pass on the rest."""
        allowed = allowed_methods(self._routes, scope) if scope["type"] == "http" else frozenset()
        app = self._app
        if not allowed:
            await app(scope, receive, send)  # The router says that there is no such path.
        elif scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_headers(scope, allowed))(scope, receive, send)
        elif scope["method"] not in allowed:
            await _refuse(scope, allowed)(scope, receive, send)
        else:
            await app({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, send)


def answer_methods(app: FastAPI) -> None:
    """Make `app` answer every method as this module says; later middleware comes before it."""
    app.add_middleware(MethodsApp, routes=app.router.routes)


def allowed_methods(routes: Iterable[BaseRoute], scope: Scope) -> frozenset[str]:
    """Return the methods of a request's path, HEAD and OPTIONS included; empty: no such path."""
    found: set[str] = set()
    for route in routes:
        if scope["path"] == _WHOLE_SERVER or route.matches(scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    if not found:
        return frozenset()
    return frozenset(found | {"OPTIONS"} | ({"HEAD"} if "GET" in found else set()))


def _headers(scope: Scope, allowed: frozenset[str]) -> dict[str, str]:
    return {"allow": ", ".join(sorted(allowed)), "x-request-id": read_call(scope).request_id}


def _refuse(scope: Scope, allowed: frozenset[str]) -> Response:
    """Make a 405 that says what is allowed."""
    headers = _headers(scope, allowed)
    detail = f"{scope['method']} {scope['path']}: the path allows {headers['allow']}"
    problem = Problem(METHOD_NOT_ALLOWED, detail[:500], headers={"allow": headers["allow"]})
    return problem_response(problem, headers["x-request-id"])
