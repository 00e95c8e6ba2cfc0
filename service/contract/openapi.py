"""Complete FastAPI's OpenAPI document: operations outside its router, problems, headers, keys.

One document describes one service: where keys are set, operations that need one say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from service.contract.examples import DETAILS, ERRORS
from service.contract.headers import HEADERS, OF_PROBLEMS, PARAMETERS, references
from service.contract.operations import PUBLIC, Described
from service.contract.problems import (
    BUNDLE_REFUSED,
    CATALOGUE_REFUSED,
    CONFLICT,
    KEYS_REFUSED,
    KINDS,
    MEDIA_TYPE,
    MISDIRECTED,
    RATE_LIMITED,
    SCENES_REFUSED,
    Problem,
    ProblemDocument,
    ProblemKind,
)
from service.contract.rule_schemas import Value
from service.contract.tidy import REFERENCE, rename, share, tidy
from service.contract.values import FieldValue

SCHEME: Final = "HTTPBearer"
TAGS: Final = {
    "rerank": "Lists, within the latency budget.",
    "status": "What is served, and how well. Not for every request.",
    "health": "For the platform that runs the service.",
    "admin": "Models and scenes, loaded and replaced while the service runs.",
}
"""What each tag holds."""

_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_ADMIN_ONLY: Final = (CONFLICT, MISDIRECTED, BUNDLE_REFUSED, SCENES_REFUSED, CATALOGUE_REFUSED, KEYS_REFUSED)
_EVERYWHERE: Final = frozenset({400, 414, 431, 500, 501, 503})
_WITH_A_BODY: Final = frozenset({408, 413, 415, 422})
_FASTAPIS: Final = ("HTTPValidationError", "ValidationError")
_RENAMED: Final = {"ProblemDocument": "Problem", "Models": "ModelList"}
"""Names in the document for types that have another one in the code."""

_SHARED: Final = {
    "FieldValues": dict[str, FieldValue],
    "Partition": Literal["bfs", "dfs"],
    "RuleValue": Value,
}
"""Names in the document for types that have none in the code."""

Document = dict[str, Any]
Statuses = Callable[[str], set[int]]
"""Tells the statuses of a path's problems, besides those of its shape."""


def describe_public(
    document: Document, *, max_candidates: int, keyed: bool, answers: Mapping[str, type[msgspec.Struct]] = {}
) -> None:
    """Complete the document of the public port.

    If `keyed`, operations under `/v1/` need a key. `answers` are those of GETs that FastAPI knows without their type.
    """
    types = [type_ for route in PUBLIC for type_ in (route.request, route.answer)]
    schemas = _add_schemas(document, [*types, *answers.values()])
    share(schemas, {name: msgspec.json.schema(type_) for name, type_ in _SHARED.items()})
    _bound_candidates(schemas, max_candidates)
    for route in PUBLIC:
        document["paths"][route.path] = {"post": _operation(route)}
    for path, type_ in answers.items():
        document["paths"][path]["get"]["responses"]["200"]["content"] = _json(type_)
    kinds = tuple(kind for kind in KINDS if kind not in _ADMIN_ONLY)
    _complete(document, kinds, lambda path: {401, 429} if path.startswith("/v1/") else set(), keyed=keyed)


def describe_admin(document: Document, *, keyed: bool, bodies: Mapping[str, type[msgspec.Struct]]) -> None:
    """Complete the document of the admin port.

    If `keyed`, all operations need a key. `bodies` are those of POSTs by path, which FastAPI does not know.
    """
    _add_schemas(document, list(bodies.values()))
    for path, type_ in bodies.items():
        document["paths"][path]["post"]["requestBody"] = {"required": True, "content": _json(type_)}
    kinds = tuple(kind for kind in KINDS if kind is not RATE_LIMITED)
    every = {401, 421, 429}
    _complete(document, kinds, lambda path: every | ({409, 422} if path.endswith("/reload") else set()), keyed=keyed)


def _add_schemas(document: Document, types: list[Any]) -> dict[str, Any]:
    """Add the schemas of msgspec's types and of problems, and return all schemas."""
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(msgspec.json.schema_components([*types, ProblemDocument], ref_template=REFERENCE)[1])
    for name in _FASTAPIS:
        schemas.pop(name, None)
    return schemas


def _bound_candidates(schemas: dict[str, Any], most: int) -> None:
    """Say how many candidates are allowed, as objects and as columns."""
    objects, _ = schemas["RerankRequest"]["properties"]["candidates"]["anyOf"]
    objects["maxItems"] = schemas["CandidateColumns"]["properties"]["id"]["maxItems"] = most


def _complete(document: Document, kinds: tuple[ProblemKind, ...], more: Statuses, *, keyed: bool) -> None:
    """Add problems and keys to all operations, and tidy all schemas."""
    document["servers"] = [{"url": "/", "description": "The service that gave this document."}]
    components = document["components"]
    components["headers"] = dict(HEADERS)
    components["securitySchemes"] = {
        SCHEME: {"type": "http", "scheme": "bearer", "description": "One of the API keys, where they are set."}
    }
    used: set[int] = set()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            statuses = _statuses(path, operation, more(path))
            _complete_operation(operation, statuses, keyed=keyed)
            used |= statuses
    tags = {tag for operations in document["paths"].values() for o in operations.values() for tag in o["tags"]}
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in tags]
    components["responses"] = {_name(status): _refusal(status, kinds) for status in sorted(used | {404, 405})}
    if any(PARAMETERS.keys() & set(route.parameters) for route in PUBLIC if route.path in document["paths"]):
        components["parameters"] = dict(PARAMETERS)
    rename(document, _RENAMED)
    for schema in components["schemas"].values():
        tidy(schema)


def _statuses(path: str, operation: Document, more: set[int]) -> frozenset[int]:
    """Return the statuses of an operation's problems."""
    statuses = _EVERYWHERE | more
    if "requestBody" in operation:
        statuses |= _WITH_A_BODY
    places = {parameter.get("in") for parameter in operation.get("parameters", ())}
    return statuses | ({404} if "{" in path else set()) | ({422} if "query" in places else set())


def _complete_operation(operation: Document, statuses: frozenset[int], *, keyed: bool) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own model of it.
    responses.update((str(status), {"$ref": f"#/components/responses/{_name(status)}"}) for status in sorted(statuses))
    operation["responses"] = {status: responses[status] for status in sorted(responses)}
    if keyed and 401 in statuses:
        operation["security"] = [{SCHEME: []}]


def _name(status: int) -> str:
    return f"Problem{status}"


def _refusal(status: int, kinds: tuple[ProblemKind, ...]) -> Document:
    """Describe the problems of one status."""
    own = [kind for kind in kinds if kind.status == status]
    return {
        "description": " or ".join(kind.title for kind in own),
        "headers": references(OF_PROBLEMS.get(status, ("x-request-id",))),
        "content": {MEDIA_TYPE: {"schema": _PROBLEM, "examples": {kind.slug: _example(kind) for kind in own}}},
    }


def _example(kind: ProblemKind) -> Document:
    problem = msgspec.to_builtins(Problem(kind, DETAILS[kind.slug]).document("r-1"))
    return {"summary": kind.title, "value": {**problem, "errors": ERRORS.get(kind.slug, [])}}


def _operation(route: Described) -> Document:
    return {
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "operationId": route.operation_id,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in route.parameters],
        "requestBody": {"required": True, "content": _json(route.request, route.requests)},
        "responses": {
            "200": {
                "description": "The answer",
                "headers": references(route.headers),
                "content": _json(route.answer, route.answers),
            }
        },
    }


def _json(type_: type[msgspec.Struct], examples: Any = ()) -> Document:
    schema = {"$ref": REFERENCE.format(name=type_.__name__)}
    return {"application/json": {"schema": schema, **({"examples": dict(examples)} if examples else {})}}
