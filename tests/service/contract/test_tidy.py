"""Schemas are rewritten for generators of clients, and mean the same as before."""

from __future__ import annotations

from typing import Any

import pytest

from service.contract.tidy import rename, share, tidy


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"type": "string", "default": "x", "title": "X"}, {"type": "string"}),
        ({"properties": {"title": {"title": "Title", "default": 1}}}, {"properties": {"title": {}}}),
        ({"type": "object", "required": []}, {"type": "object"}),
        ({"type": "object", "required": ["a"]}, {"type": "object", "required": ["a"]}),
        ({"description": "One.\n\n    And\n    two."}, {"description": "One. And two."}),
        (
            {"anyOf": [{"type": "number", "minimum": 0, "description": "Said."}, {"type": "null"}], "default": None},
            {"type": ["number", "null"], "minimum": 0, "description": "Said."},
        ),
        (
            {"anyOf": [{"$ref": "#/x", "description": "Said."}, {"type": "null"}]},
            {"anyOf": [{"$ref": "#/x"}, {"type": "null"}], "description": "Said."},
        ),
        (
            {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]},
            {"anyOf": [{"enum": ["a", "b"], "type": "string"}, {"type": "null"}]},
        ),
        ({"enum": ["a", 1]}, {"enum": ["a", 1]}),
        (
            {"items": {"additionalProperties": {"anyOf": [{"type": "number"}, {"type": "null"}]}}},
            {"items": {"additionalProperties": {"type": ["number", "null"]}}},
        ),
        ({"additionalProperties": False}, {"additionalProperties": False}),
    ],
)
def test_a_schema_is_tidied(before: dict[str, Any], after: dict[str, Any]) -> None:
    tidy(before)
    assert before == after


def test_copies_of_a_schema_become_references_and_keep_their_words() -> None:
    shared = {"Way": {"enum": ["a", "b"]}}
    copies = {"x": {"anyOf": [{"enum": ["a", "b"], "description": "Said."}, {"type": "null"}]}, "y": {"enum": ["a"]}}
    schemas: dict[str, Any] = {"Request": {"properties": copies}}
    share(schemas, shared)
    reference = {"$ref": "#/components/schemas/Way", "description": "Said."}
    assert schemas["Request"]["properties"] == {"x": {"anyOf": [reference, {"type": "null"}]}, "y": {"enum": ["a"]}}
    assert schemas["Way"] == shared["Way"]


def test_a_schema_is_renamed_wherever_it_is_referred_to() -> None:
    reference = {"$ref": "#/components/schemas/Old"}
    document: dict[str, Any] = {
        "paths": {"/x": [{"schema": dict(reference)}]},
        "components": {"schemas": {"Old": {"items": dict(reference)}, "Other": {"title": "Old"}}},
    }
    rename(document, {"Old": "New", "Missing": "Nothing"})
    renamed = {"$ref": "#/components/schemas/New"}
    assert document["paths"] == {"/x": [{"schema": renamed}]}
    assert document["components"]["schemas"] == {"New": {"items": renamed}, "Other": {"title": "Old"}}
