"""The OpenAPI documents are valid, describe what the service does, and make types that one would write by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from service.contract.examples import DETAILS, EXAMPLE_REQUEST, README_REQUEST, REQUESTS, RULED_REQUEST
from service.contract.problems import KINDS
from tests.service.contract.documents import Document, admin_document, operations, resolved, validator, walk
from tests.service.live import Live, fake_model, live_app
from tests.test_readme import README, block

ALWAYS = {"400", "414", "431", "500", "501", "503"}
BODY = {"408", "413", "415", "422"}
PORTS = ("public", "admin")
_WITH_RULES_ONLY = {"boost", "passed_over"}


@pytest.fixture(scope="module")
def document(server: Live) -> Document:
    found: Document = server.get("/openapi.json").json
    return found


@pytest.fixture(scope="module")
def documents(document: Document) -> dict[str, Document]:
    return {"public": document, "admin": admin_document()}


@pytest.mark.parametrize("port", PORTS)
def test_the_document_is_openapi_3_1(documents: dict[str, Document], port: str) -> None:
    document = documents[port]
    assert document["openapi"].startswith("3.1.")
    assert not [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(document)]
    for name, schema in document["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}), name


@pytest.mark.parametrize("port", PORTS)
def test_every_reference_leads_somewhere(documents: dict[str, Document], port: str) -> None:
    found = [value for value in walk(documents[port]) if isinstance(value.get("$ref"), str)]
    assert found
    for value in found:
        assert resolved(documents[port], value)


@pytest.mark.parametrize("port", PORTS)
def test_nothing_of_fastapis_and_no_default_is_left(documents: dict[str, Document], port: str) -> None:
    schemas = documents[port]["components"]["schemas"]
    assert not {"HTTPValidationError", "ValidationError", "ProblemDocument"} & set(schemas)
    assert not [value for value in walk(schemas) if "default" in value and {"type", "anyOf", "$ref"} & set(value)]


@pytest.mark.parametrize("port", PORTS)
def test_every_operation_has_a_name_a_tag_and_words(documents: dict[str, Document], port: str) -> None:
    document = documents[port]
    found = [operation for _, _, operation in operations(document)]
    names = [operation["operationId"] for operation in found]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert all(operation["summary"] and set(operation["tags"]) <= tags for operation in found)
    assert document["info"]["version"]
    assert document["servers"]


def test_operations_keep_their_names(documents: dict[str, Document]) -> None:
    named = {port: {o["operationId"] for _, _, o in operations(documents[port])} for port in PORTS}
    assert {"rerank", "list_models", "get_slo", "get_metrics", "live", "ready"} <= named["public"]
    reloads = {"reload", "reload_scenes", "reload_catalogues", "reload_keys"}
    assert named["admin"] == {"list_models", "get_metrics"} | reloads


def test_the_request_is_described_as_it_is_decoded(document: Document) -> None:
    schemas = document["components"]["schemas"]
    request = schemas["RerankRequest"]
    assert request["required"] == ["candidates"]
    assert request["additionalProperties"] is False
    assert set(schemas["Diversity"]["properties"]) == {"lambda", "window"}
    assert schemas["Candidate"]["required"] == schemas["CandidateColumns"]["required"] == ["id", "scores"]
    assert set(schemas["Candidate"]["properties"]) == set(schemas["CandidateColumns"]["properties"])
    assert schemas["Candidate"]["properties"]["embedding"]["items"] == {"type": "number"}
    assert "required" not in schemas["Objectives"]
    assert set(schemas["ListRules"]["properties"]) == {"pinned", "blocked", "caps", "floors", "boosts"}
    assert schemas["CapRule"]["required"] == ["by", "limit"]


@pytest.mark.parametrize(
    "name",
    [
        *("RerankRequest", "Candidate", "CandidateColumns", "Objectives", "Diversity", "ListRules", "ShownItem"),
        *("PinRule", "CapRule", "FloorRule", "BoostRule"),
    ],
)
def test_what_a_request_may_leave_out_may_be_null_and_the_rest_may_not(document: Document, name: str) -> None:
    schema = document["components"]["schemas"][name]
    for key, inner in schema["properties"].items():
        may_be_null = "null" in inner.get("type", ()) or {"type": "null"} in inner.get("anyOf", ())
        assert may_be_null == (key not in schema.get("required", ())), key


def test_fields_of_an_answer_are_required_unless_they_may_be_left_out(document: Document) -> None:
    schemas = document["components"]["schemas"]
    sometimes = {
        "Item": {"explanation", "pinned"},
        "Explanation": {"boost", "passed_over"},
        "RerankResponse": {"warnings", "relaxed"},
        "BatchResult": {"response", "problem"},
        "Timings": {"live"},
    }
    for name in (
        "RerankResponse",
        "BatchResult",
        "Item",
        "Explanation",
        "PassedOver",
        "Degraded",
        "Timings",
        "Problem",
        "FieldError",
        "Health",
    ):
        assert set(schemas[name]["properties"]) - set(schemas[name]["required"]) == sometimes.get(name, set()), name
    assert schemas["Item"]["properties"]["explanation"] == {"$ref": "#/components/schemas/Explanation"}


def test_every_field_of_an_answer_is_described(server: Live, document: Document) -> None:
    answer = server.post({**EXAMPLE_REQUEST, "explain": True}).json
    schemas = document["components"]["schemas"]
    assert set(answer) <= set(schemas["RerankResponse"]["properties"])
    assert set(answer["items"][0]) == set(schemas["Item"]["properties"]) - {"pinned"}
    assert set(answer["items"][0]["explanation"]) == set(schemas["Explanation"]["properties"]) - _WITH_RULES_ONLY
    assert set(answer["timings_ms"]) == set(schemas["Timings"]["properties"]) - {"live"}
    assert "explanation" not in server.post(EXAMPLE_REQUEST).json["items"][0]


def examples(document: Document) -> Iterator[tuple[str, str, Any]]:
    """Name of the schema, name of the example, and its value."""
    bodies = [o["requestBody"] for _, _, o in operations(document) if "requestBody" in o]
    answers = [resolved(document, answer) for _, _, o in operations(document) for answer in o["responses"].values()]
    for content in (content for body in (*bodies, *answers) for content in body.get("content", {}).values()):
        for name, example in content.get("examples", {}).items():
            yield content["schema"]["$ref"].rpartition("/")[2], name, example["value"]


@pytest.mark.parametrize("port", PORTS)
def test_every_example_is_valid(documents: dict[str, Document], port: str) -> None:
    found = list(examples(documents[port]))
    for schema, name, value in found:
        assert validator(documents[port], schema).is_valid(value), name
    kinds = {kind.slug for kind in KINDS}
    assert {name for schema, name, _ in found if schema == "Problem"} <= kinds
    assert set(DETAILS) == kinds


def test_the_example_requests_are_answered(ruled_server: Live) -> None:
    assert block(README, "request") == README_REQUEST
    for name, example in REQUESTS.items():
        assert ruled_server.post(example["value"]).status == 200, name


def test_what_rules_leave_in_an_answer_is_described(ruled_server: Live, document: Document) -> None:
    answer = ruled_server.post(RULED_REQUEST).json
    assert validator(document, "RerankResponse").is_valid(answer)
    assert [item["id"] for item in answer["items"] if item.get("pinned")] == ["ad-7"]
    told = [item["explanation"] for item in answer["items"] if "explanation" in item]
    assert set().union(*told) == set(document["components"]["schemas"]["Explanation"]["properties"])


@pytest.mark.parametrize("port", PORTS)
def test_every_operation_says_its_problems_in_one_way(documents: dict[str, Document], port: str) -> None:
    document = documents[port]
    for path, _, operation in operations(document):
        refusals = {status: resolved(document, r) for status, r in operation["responses"].items() if status != "200"}
        assert ALWAYS | (BODY if "requestBody" in operation else set()) <= set(refusals), path
        assert ("401" in refusals) == (port == "admin" or path.startswith("/v1/"))
        assert ("404" in refusals) == ("{" in path)
        for status, refusal in refusals.items():
            assert list(refusal["content"]) == ["application/problem+json"]
            told = refusal["content"]["application/problem+json"]
            assert told["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert {example["value"]["status"] for example in told["examples"].values()} == {int(status)}
            assert refusal["description"]
            assert "x-request-id" in refusal["headers"]
        assert "retry-after" in refusals["503"]["headers"]


def test_problems_of_the_admin_port_are_its_own(documents: dict[str, Document]) -> None:
    public, admin = (documents[port]["components"]["responses"] for port in PORTS)
    assert {"Problem409", "Problem421"} <= set(admin)
    assert not {"Problem409", "Problem421"} & set(public)
    assert {"Problem404", "Problem405"} <= set(public)


def test_problem_types_are_an_enumeration(document: Document) -> None:
    slugs = [kind.slug for kind in KINDS]
    assert len(set(slugs)) == len(slugs)
    told = document["components"]["schemas"]["Problem"]["properties"]["type"]
    assert told["enum"] == [f"urn:listwright:problem:{slug}" for slug in slugs]


def test_headers_of_a_request_and_its_answer_are_described(document: Document) -> None:
    operation = document["paths"]["/v1/rerank"]["post"]
    asked = {resolved(document, parameter)["name"] for parameter in operation["parameters"]}
    timeouts = {"x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms", "grpc-timeout"}
    assert asked == {"x-request-id", "traceparent", *timeouts}
    told = operation["responses"]["200"]["headers"]
    assert set(told) == {"x-request-id", "traceparent", "server-timing", "x-listwright-degraded"}


def test_headers_of_answers_are_those_that_come(document: Document) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with live_app(fake_model()) as live:
        reply = live.post(EXAMPLE_REQUEST, {"x-request-timeout-ms": "0.001", "traceparent": trace})
    told = document["paths"]["/v1/rerank"]["post"]["responses"]["200"]["headers"]
    assert set(told) == set(reply.headers) - {"content-type", "content-length"}


def test_operations_need_a_key_where_keys_are_set_and_say_so(document: Document) -> None:
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert not [path for path, _, operation in operations(document) if "security" in operation]
    with live_app(fake_model(), api_keys="secret") as live:
        keyed = live.get("/openapi.json").json
    for path, _, operation in operations(keyed):
        assert operation.get("security") == ([{"HTTPBearer": []}] if path.startswith("/v1/") else None)
    for _, _, operation in operations(admin_document(api_keys="secret")):
        assert operation["security"] == [{"HTTPBearer": []}]


def test_limits_are_described(document: Document) -> None:
    schemas = document["components"]["schemas"]
    objects, columns = schemas["RerankRequest"]["properties"]["candidates"]["anyOf"]
    assert objects["maxItems"] == 2000
    assert columns == {"$ref": "#/components/schemas/CandidateColumns"}
    assert schemas["CandidateColumns"]["properties"]["id"]["maxItems"] == 2000
    assert schemas["Queue"]["properties"]["score"]["maxLength"] == 300
    assert schemas["Candidate"]["properties"]["id"]["maxLength"] == 256
    assert schemas["ListRules"]["properties"]["pinned"]["maxItems"] == 64
    assert schemas["CapRule"]["properties"]["limit"]["minimum"] == 1
    assert schemas["CapRule"]["properties"]["window"]["maximum"] == 1000
    assert schemas["RerankRequest"]["properties"]["shown"]["maxItems"] == 5000
