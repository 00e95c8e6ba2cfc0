"""Named keys on real sockets: limits before the body, wrong keys by address, and the name in records and metrics."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.access.files import SECRETS, bearer, entry, write_keys
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import HOST, WAIT_SECONDS, Live, Reply, fake_model, live_app
from tests.service.requests import request

SLOW = "requests_per_second = 0.001"
"""One request, and then none for the rest of a test."""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    path = write_keys(tmp_path / "keys.toml", entry("backend") + entry("batch", SLOW) + entry("old", SLOW))
    with live_app(fake_model(), api_keys_file=path, key_failures_per_minute=3) as found:
        yield found


def counts(live: Live, key: str) -> dict[str, float | None]:
    results = ("served", "refused", "limited")
    return {result: live.series("rerank_key_requests_total", key=key, result=result) for result in results}


def failures(live: Live) -> dict[str, float | None]:
    reasons = ("missing", "unknown", "limited")
    return {reason: live.series("rerank_auth_failures_total", reason=reason) for reason in reasons}


def batch(live: Live, key: str, size: int) -> Reply:
    body = json.dumps({"requests": [request()] * size}).encode()
    return live.request("POST", "/v1/rerank/batch", body, {"Content-Type": "application/json", **bearer(key)})


def head(key: str, length: int, *fields: str) -> bytes:
    lines = ("POST /v1/rerank HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}")
    return "\r\n".join((*lines, f"Authorization: Bearer {SECRETS[key]}", *fields, "", "")).encode()


def test_all_series_exist_from_the_start(live: Live) -> None:
    for key in ("none", "backend", "batch", "old"):
        assert counts(live, key) == {"served": 0, "refused": 0, "limited": 0}
    assert failures(live) == {"missing": 0, "unknown": 0, "limited": 0}
    for result in ("ok", "unchanged", "refused"):
        assert live.series("rerank_key_reloads_total", result=result) == 0


def test_the_record_of_every_request_has_the_name_of_its_key(live: Live) -> None:
    assert live.post(request(), bearer("backend")).status == 200
    assert live.post(b"{", bearer("backend")).status == 400
    assert live.post(request()).status == 401
    assert live.post(request(), {"Authorization": "Bearer guess"}).status == 401
    assert [record.key for record in live.records] == ["backend", "backend", "none", "none"]
    assert counts(live, "backend") == {"served": 1, "refused": 1, "limited": 0}
    assert counts(live, "none") == {"served": 0, "refused": 2, "limited": 0}
    assert failures(live) == {"missing": 1, "unknown": 1, "limited": 0}


def test_a_request_over_its_keys_limit_is_refused_before_its_body_is_sent(live: Live) -> None:
    assert live.post(request(), bearer("old")).status == 200
    with socket.create_connection((HOST, live.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(head("old", 1000))  # And no byte of the body.
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 429 ")
    assert "\r\nretry-after: 1000\r\n" in answer
    document = json.loads(answer.partition("\r\n\r\n")[2])
    assert document["type"] == "urn:listwright:problem:rate-limited"
    assert document["detail"] == "the key 'old' may send 0.001 requests per second"
    assert counts(live, "old") == {"served": 1, "refused": 0, "limited": 1}
    record = live.records[-1]
    assert (record.key, record.outcome, record.status, record.reason) == ("old", "invalid", 429, "rate-limited")
    assert live.series("rerank_scene_requests_total", scene="none", outcome="invalid") == 1
    assert live.metrics.windows()[0].valid == 1, "a request over its limit is none of the objectives' business"


def test_other_keys_go_on(live: Live) -> None:
    assert [live.post(request(), bearer("old")).status for _ in range(3)] == [200, 429, 429]
    assert live.post(request(), bearer("backend")).status == 200


def test_a_request_that_the_gate_does_not_see_is_limited_alike(live: Live) -> None:
    body = json.dumps(request()).encode()
    first, second = head("old", len(body)), head("old", len(body), "Connection: close")
    answers = live.raw(first + body + second + body).decode()
    assert answers.startswith("HTTP/1.1 200 ")
    assert answers.count("HTTP/1.1 429 ") == 1
    assert answers.count("retry-after: 1000") == 1
    assert counts(live, "old") == {"served": 1, "refused": 0, "limited": 1}


def test_each_request_of_a_batch_counts(live: Live) -> None:
    reply = batch(live, "batch", 3)
    assert reply.status == 200
    assert sorted(result["status"] for result in reply.json["results"]) == [200, 429, 429]
    assert {result["problem"]["type"] for result in reply.json["results"] if result["status"] == 429} == {
        "urn:listwright:problem:rate-limited"
    }
    assert counts(live, "batch") == {"served": 1, "refused": 0, "limited": 2}
    assert {record.key for record in live.records} == {"batch"}
    whole = batch(live, "batch", 2)
    assert_problem(whole, 429, "rate-limited")
    assert whole.headers["retry-after"] == "1000"


def test_wrong_keys_from_one_address_get_429_and_a_valid_one_from_there_its_list(live: Live) -> None:
    guess = {"Authorization": "Bearer guess"}
    assert [live.post(request(), guess).status for _ in range(3)] == [401] * 3
    over = live.post(request(), guess)
    assert_problem(over, 429, "too-many-attempts")
    assert 1 <= int(over.headers["retry-after"]) <= 60
    assert live.get("/v1/models", guess).status == 429
    assert live.post(request(), bearer("backend")).status == 200
    assert live.get("/v1/models", bearer("backend")).status == 200
    assert live.get("/v1/models").status == 401
    assert failures(live) == {"missing": 1, "unknown": 3, "limited": 2}


def test_no_document_shows_a_key(live: Live) -> None:
    live.post(request(), bearer("backend"))
    shown = [live.get(path).body.decode() for path in ("/openapi.json", "/metrics", "/docs", "/")]
    assert not [secret for secret in SECRETS.values() for text in shown if secret in text]
    operation = json.loads(shown[0])["paths"]["/v1/rerank"]["post"]
    assert operation["security"] == [{"HTTPBearer": []}]
    assert {"401", "429"} <= set(operation["responses"])
