"""Describe the headers of requests and answers, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# What cannot be read is ignored and never refused, so any text is valid.
_MILLISECONDS: Final = {"type": ["number", "string"]}


def _parameter(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe a header that may be missing.

    It has no `example`, since Swagger UI would send that unasked.
    """
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": schema or {"type": "string"},
    }


def _header(description: str, example: object, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}, "example": example}


PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "RequestId": _parameter(
        "x-request-id",
        "The request id, unless the body has one: 1 to 128 printable ASCII characters. Anything else is ignored.",
    ),
    "Traceparent": _parameter(
        "traceparent",
        "W3C Trace Context. The answer carries the same trace with a new span.",
    ),
    "RequestTimeoutMs": _parameter(
        "x-request-timeout-ms",
        "Milliseconds that the caller waits. What is not a number above 0 is ignored and counted.",
        _MILLISECONDS,
    ),
    "EnvoyExpectedTimeoutMs": _parameter(
        "x-envoy-expected-rq-timeout-ms", "The same, as Envoy writes it.", _MILLISECONDS
    ),
    "GrpcTimeout": _parameter("grpc-timeout", "The same, as gRPC writes it: digits and a unit, for example 15m."),
}
"""Request headers by the names of the components; `authorization` is the security scheme."""

HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "x-request-id": _header("The request id.", "r-1"),
    "traceparent": _header(
        "The caller's trace with a new span; only if the request has one.",
        "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
    ),
    "server-timing": _header(
        "Milliseconds per stage, and `lag`, from the first bytes to the handler.",
        "lag;dur=0.130, decode;dur=0.256, deal;dur=0.448, total;dur=1.556",
    ),
    "x-listwright-degraded": _header("Reason and level; only if the list is degraded.", "deadline; level=formula"),
    "retry-after": _header("Seconds after which to try again.", 1, "integer"),
    "www-authenticate": _header("The scheme of the key.", "Bearer"),
    "accept-encoding": _header("Content codings of bodies, where the request's is another.", "gzip, zstd, identity"),
    "allow": _header("Methods of the path.", "OPTIONS, POST"),
}
"""Headers of answers; each is a component of the same name."""

OF_PROBLEMS: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("x-request-id", "www-authenticate"),
    415: ("x-request-id", "accept-encoding"),
    429: ("x-request-id", "retry-after"),
    503: ("x-request-id", "retry-after"),
}
"""Headers of the problems of a status, where it has more than the request id."""


def references(names: tuple[str, ...]) -> dict[str, Any]:
    """Return a response's `headers`: a reference for each name."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
