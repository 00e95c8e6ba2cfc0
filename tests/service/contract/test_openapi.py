"""The OpenAPI document describes what the decoder accepts, since both come from the same types."""

from __future__ import annotations

from typing import Any

import pytest

from service.contract.openapi import EXAMPLE_REQUEST, add_admin_problems
from service.contract.problems import KINDS
from tests.service.live import Live


@pytest.fixture(scope="module")
def document(server: Live) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/openapi.json").json
    return found


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(v) for v in value.values()))
    return set().union(*(references(v) for v in value)) if isinstance(value, list) else set()


def test_every_route_is_described(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {
        "/v1/rerank",
        "/v1/rerank/batch",
        "/v1/models",
        "/v1/slo",
        "/metrics",
        "/v2/health/live",
        "/v2/health/ready",
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_the_request_is_described_as_it_is_decoded(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    request = schemas["RerankRequest"]
    assert request["required"] == ["candidates"]
    assert request["additionalProperties"] is False
    assert set(EXAMPLE_REQUEST) <= set(request["properties"])
    assert set(schemas["Diversity"]["properties"]) == {"lambda", "window"}
    assert schemas["Candidate"]["required"] == ["id", "scores"]


def test_every_field_of_request_and_response_has_a_name_that_the_service_uses(
    server: Live, document: dict[str, Any]
) -> None:
    answer = server.post({**EXAMPLE_REQUEST, "explain": True}).json
    schemas = document["components"]["schemas"]
    assert set(answer) == set(schemas["RerankResponse"]["properties"])
    assert set(answer["items"][0]) == set(schemas["Item"]["properties"])
    assert set(answer["items"][0]["explanation"]) == set(schemas["Explanation"]["properties"])
    assert set(answer["timings_ms"]) == set(schemas["Timings"]["properties"])


def test_every_refusal_of_the_hot_path_is_listed_as_a_problem(document: dict[str, Any]) -> None:
    responses = document["paths"]["/v1/rerank"]["post"]["responses"]
    assert set(responses) == {"200", *["400", "401", "408", "413", "414", "415", "422", "431", "500", "501", "503"]}
    assert all("application/problem+json" in r["content"] for status, r in responses.items() if status != "200")


def test_every_operation_says_its_problems_and_nothing_of_fastapis(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            refusals = {status: r for status, r in operation["responses"].items() if status != "200"}
            assert {"400", "414", "431", "500", "501", "503"} <= set(refusals)
            assert ("401" in refusals) == path.startswith("/v1/")
            assert all(list(r["content"]) == ["application/problem+json"] for r in refusals.values())
            assert all(r["description"] for r in refusals.values())
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_limits_are_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["RerankRequest"]["properties"]["candidates"]["maxItems"] == 2000
    assert schemas["Queue"]["properties"]["score"]["maxLength"] == 300
    assert schemas["Candidate"]["properties"]["id"]["maxLength"] == 256


def test_the_admin_port_says_its_problems() -> None:
    document: dict[str, Any] = {
        "paths": {
            "/admin/v1/models": {"get": {"responses": {"200": {}}}},
            "/admin/v1/reload": {"post": {"requestBody": {}, "responses": {"200": {}, "422": {}}}},
        }
    }
    add_admin_problems(document)
    got = {path: set(next(iter(operations.values()))["responses"]) for path, operations in document["paths"].items()}
    assert {"401", "421"} <= got["/admin/v1/models"]
    assert {"401", "408", "409", "413", "421", "422"} <= got["/admin/v1/reload"]


def test_problem_types_are_told_apart(document: dict[str, Any]) -> None:
    slugs = [kind.slug for kind in KINDS]
    assert len(set(slugs)) == len(slugs)
    described = document["components"]["schemas"]["ProblemDocument"]["properties"]["type"]["description"]
    assert all(f"urn:listwright:problem:{slug}" in described for slug in slugs)


def test_the_documentation_page_is_served(server: Live) -> None:
    assert b"swagger" in server.get("/docs").body.lower()
