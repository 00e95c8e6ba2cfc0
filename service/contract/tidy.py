"""Rewrite JSON schemas so that generators of clients make good types.

Generators take a property with a default as always there, and `default: null` as a value of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from inspect import cleandoc
from typing import Any, Final

REFERENCE: Final = "#/components/schemas/{name}"
"""A reference to a schema of the document."""

_OF_MANY: Final = ("properties", "$defs", "patternProperties")
_OF_ONE: Final = ("items", "additionalProperties", "not", "if", "then", "else")
_OF_SOME: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_NULL: Final = {"type": "null"}


def tidy(schema: dict[str, Any]) -> None:
    """Rewrite a schema and all inside it, in place.

    Defaults and titles go, since descriptions say what a missing value means. A value or null becomes a list of types.
    Enumerations of text say that they are text.
    """
    for key in ("default", "title"):
        schema.pop(key, None)
    if not schema.get("required", True):
        del schema["required"]
    if "description" in schema:
        schema["description"] = " ".join(cleandoc(schema["description"]).split())
    for inner in _inner(schema):
        tidy(inner)
    _say_text(schema)
    _merge_null(schema)


def share(schemas: dict[str, Any], shared: Mapping[str, dict[str, Any]]) -> None:
    """Replace every copy of a schema in `shared` by a reference.

    Those schemas are added under their names. Generators name what has no name after the place where they find it.
    """
    for schema in schemas.values():
        _share(schema, shared)
    schemas.update(deepcopy(dict(shared)))


def rename(document: Any, names: Mapping[str, str]) -> None:
    """Rename schemas, and change all references to them."""
    schemas = document["components"]["schemas"]
    for old, new in names.items():
        if old in schemas:
            schemas[new] = schemas.pop(old)
    _refer(document, {REFERENCE.format(name=old): REFERENCE.format(name=new) for old, new in names.items()})


def _share(schema: dict[str, Any], shared: Mapping[str, dict[str, Any]]) -> None:
    for inner in _inner(schema):
        bare = {key: value for key, value in inner.items() if key != "description"}
        name = next((name for name, wanted in shared.items() if bare == wanted), None)
        if name is None:
            _share(inner, shared)
        else:
            for key in bare:
                del inner[key]
            inner["$ref"] = REFERENCE.format(name=name)


def _refer(value: Any, names: Mapping[str, str]) -> None:
    if isinstance(value, list):
        for inner in value:
            _refer(inner, names)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref" and inner in names:
                value[key] = names[inner]
            else:
                _refer(inner, names)


def _inner(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """List the schemas directly inside a schema."""
    found = [inner for key in _OF_MANY for inner in schema.get(key, {}).values()]
    found += [schema[key] for key in _OF_ONE if key in schema]
    found += [inner for key in _OF_SOME for inner in schema.get(key, ())]
    return [inner for inner in found if isinstance(inner, dict)]


def _say_text(schema: dict[str, Any]) -> None:
    values = schema.get("enum")
    if values and "type" not in schema and all(isinstance(value, str) for value in values):
        schema["type"] = "string"


def _merge_null(schema: dict[str, Any]) -> None:
    """Write one type or null as a list of types.

    A description of the one becomes that of both.
    """
    choices = schema.get("anyOf", [])
    if len(choices) != 2 or choices[1] != _NULL:
        return
    inner = choices[0]
    if "description" in inner:
        schema.setdefault("description", inner.pop("description"))
    if isinstance(inner.get("type"), str) and "enum" not in inner:
        del schema["anyOf"]
        schema.update({**inner, "type": [inner["type"], "null"]})
