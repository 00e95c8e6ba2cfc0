"""Turn every error of an app's ordinary routes into a problem document."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Final

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.access.failures import peer_of
from service.access.key import NO_KEY
from service.contract.problems import (
    INTERNAL,
    INVALID_REQUEST,
    MALFORMED_JSON,
    MEDIA_TYPE,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    FieldError,
    Problem,
)
from service.transport.asgi import is_header_safe, parse_traceparent

_log = logging.getLogger(__name__)
_LONGEST: Final = 500
KEPT_OUT: Final = (401, 429)
"""Statuses of requests that were refused for their API key."""

_BY_STATUS: Final = {400: MALFORMED_JSON, 404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}


LogRefusal = Callable[[str, str, str, int, str, str | None], None]
"""Told the address of the client, the key's name, the reason, the status, the request id and the trace id."""


def install_error_handlers(app: FastAPI, log: LogRefusal | None = None) -> None:
    """Make `app` answer every error with an RFC 9457 problem.

    `log` hears of missing and wrong keys.
    """

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        request_id = _request_id(request)
        if log is not None and error.kind.status in KEPT_OUT:
            trace = parse_traceparent(request.headers.get("traceparent"))
            trace_id = None if trace is None else trace.trace_id
            log(peer_of(request.scope), NO_KEY, error.kind.slug, error.kind.status, request_id, trace_id)
        return problem_response(error, request_id)

    app.add_exception_handler(Problem, answer)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _unexpected)


def problem_response(problem: Problem, request_id: str) -> Response:
    """Make a Starlette response that carries `problem`."""
    headers = {**problem.headers, "x-request-id": request_id}
    body = msgspec.json.encode(problem.document(request_id))
    return Response(body, problem.kind.status, headers, MEDIA_TYPE)


def _request_id(request: Request) -> str:
    asked = request.headers.get("x-request-id", "")
    return asked if is_header_safe(asked) else secrets.token_hex(8)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    usual = INTERNAL if error.status_code >= 500 else INVALID_REQUEST
    kind = _BY_STATUS.get(error.status_code, usual)
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return problem_response(Problem(kind, detail[:_LONGEST], headers=dict(error.headers or {})), _request_id(request))


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [FieldError(".".join(map(str, e["loc"][1:]))[:_LONGEST], str(e["msg"])) for e in error.errors()]
    detail = "; ".join(f"{e.field}: {e.problem}" if e.field else e.problem for e in errors)
    return problem_response(Problem(INVALID_REQUEST, detail, errors=errors), _request_id(request))


async def _unexpected(request: Request, error: Exception) -> Response:
    request_id = _request_id(request)
    _log.error("request %s failed: %s", request_id, error, extra={"request_id": request_id})
    return problem_response(Problem(INTERNAL, "the log has the request id"), request_id)
