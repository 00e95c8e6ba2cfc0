"""Define the errors that clients see: RFC 9457 problem documents with a stable `type`.

Raise a `Problem` anywhere below the app and it becomes the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta, Struct

MEDIA_TYPE: Final = "application/problem+json"
_NAMESPACE: Final = "urn:listwright:problem:"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One type of problem; `slug` never changes once published."""

    slug: str
    title: str
    status: int


MALFORMED_JSON: Final = ProblemKind("malformed-json", "The body is not valid JSON", 400)
MALFORMED_HTTP: Final = ProblemKind("malformed-http", "The request is not valid HTTP", 400)
MALFORMED_ENCODING: Final = ProblemKind("malformed-encoding", "The body is not in its Content-Encoding", 400)
UNAUTHORIZED: Final = ProblemKind("unauthorized", "An API key is needed", 401)
NOT_FOUND: Final = ProblemKind("not-found", "No such resource", 404)
METHOD_NOT_ALLOWED: Final = ProblemKind("method-not-allowed", "Method not allowed", 405)
REQUEST_TIMEOUT: Final = ProblemKind("request-timeout", "The body did not arrive in time", 408)
CONFLICT: Final = ProblemKind("conflict", "Bundles are being loaded already", 409)
BODY_TOO_LARGE: Final = ProblemKind("body-too-large", "The body is too large", 413)
URI_TOO_LONG: Final = ProblemKind("uri-too-long", "The request line is too long", 414)
UNSUPPORTED_MEDIA_TYPE: Final = ProblemKind(
    "unsupported-media-type", "The body is not of a supported type or coding", 415
)
MISDIRECTED: Final = ProblemKind("misdirected-request", "The service does not answer for this host", 421)
INVALID_REQUEST: Final = ProblemKind("invalid-request", "The request is not valid", 422)
BUNDLE_REFUSED: Final = ProblemKind("bundle-refused", "The bundle was not loaded", 422)
SCENES_REFUSED: Final = ProblemKind("scenes-refused", "The scenes were not loaded", 422)
CATALOGUE_REFUSED: Final = ProblemKind("catalogue-refused", "A catalogue was not loaded", 422)
KEYS_REFUSED: Final = ProblemKind("keys-refused", "A file of API keys was not loaded", 422)
TOO_MANY_ATTEMPTS: Final = ProblemKind("too-many-attempts", "Too many attempts with a wrong API key", 429)
RATE_LIMITED: Final = ProblemKind("rate-limited", "The API key has sent as many requests as it may", 429)
HEADERS_TOO_LARGE: Final = ProblemKind("headers-too-large", "The headers are too large", 431)
INTERNAL: Final = ProblemKind("internal-error", "The service failed", 500)
NOT_IMPLEMENTED: Final = ProblemKind("not-implemented", "The request needs a part of HTTP that is not supported", 501)
NOT_READY: Final = ProblemKind("not-ready", "The service is not ready", 503)
OVERLOADED: Final = ProblemKind("overloaded", "Too many requests are in progress", 503)
SHED: Final = ProblemKind("shed", "Requests come in faster than they can be answered in time", 503)

KINDS: Final = (
    MALFORMED_JSON,
    MALFORMED_HTTP,
    MALFORMED_ENCODING,
    UNAUTHORIZED,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    CONFLICT,
    BODY_TOO_LARGE,
    URI_TOO_LONG,
    UNSUPPORTED_MEDIA_TYPE,
    MISDIRECTED,
    INVALID_REQUEST,
    BUNDLE_REFUSED,
    SCENES_REFUSED,
    CATALOGUE_REFUSED,
    KEYS_REFUSED,
    TOO_MANY_ATTEMPTS,
    RATE_LIMITED,
    HEADERS_TOO_LARGE,
    INTERNAL,
    NOT_IMPLEMENTED,
    NOT_READY,
    OVERLOADED,
    SHED,
)
_TYPES: Final = [_NAMESPACE + kind.slug for kind in KINDS]


class FieldError(Struct, frozen=True):
    """One field of the request and its fault."""

    field: Annotated[str, Meta(description="Path in the request, for example candidates[3].scores.ctr.")]
    problem: str


class ProblemDocument(Struct, frozen=True):
    """RFC 9457 problem details."""

    type: Annotated[str, Meta(description="Stable.", extra_json_schema={"enum": _TYPES})]
    title: Annotated[str, Meta(description="What is wrong in general, for people.")]
    status: Annotated[int, Meta(description="The answer's status code.")]
    detail: Annotated[str, Meta(description="What is wrong here, for people.")]
    errors: Annotated[list[FieldError], Meta(description="The fields that are wrong; empty if it is not a field.")]
    request_id: str


class Problem(Exception):
    """A request that cannot be answered with a list, and the reason."""

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def document(self, request_id: str) -> ProblemDocument:
        """Make the body to send."""
        slug, title, status = self.kind.slug, self.kind.title, self.kind.status
        return ProblemDocument(_NAMESPACE + slug, title, status, self.detail, list(self.errors), request_id)


def invalid(field: str, problem: str) -> Problem:
    """Make a 422 for one field."""
    return Problem(INVALID_REQUEST, f"{field}: {problem}" if field else problem, errors=[FieldError(field, problem)])


def unavailable(kind: ProblemKind, detail: str, retry_after_seconds: int) -> Problem:
    """Make a 503 with `Retry-After`."""
    return Problem(kind, detail, headers={"retry-after": str(retry_after_seconds)})
