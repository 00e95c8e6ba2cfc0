"""`POST /v1/rerank/batch`: an outcome for each request, over real sockets, and single requests alongside."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from models.contract.serving import MOST_REQUESTS
from service.bundles.model import Model
from service.inference.engine import BatchArrays
from tests.service.live import HOST, WAIT_SECONDS, FakeEngine, Live, Reply, fake_model, live_app
from tests.service.requests import candidate, check_list, request
from tests.service.tiny_bundle import Arrays

JSON = {"Content-Type": "application/json"}
REQUESTS = "rerank_batch_requests_total"
BATCHES = "rerank_batch_duration_seconds_count"


def post(live: Live, body: object, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return live.request("POST", "/v1/rerank/batch", raw, JSON | {k.replace("_", "-"): v for k, v in headers.items()})


def results(live: Live, *requests: Any) -> list[dict[str, Any]]:
    reply = post(live, {"requests": requests})
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json["results"]
    return found


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def test_every_request_has_the_list_that_it_would_have_alone(server: Live) -> None:
    sent = [request(n, top_n=n, explain=n % 2 == 0, request_id=f"mine-{n}") for n in range(1, 13)]
    for one, result in zip(sent, results(server, *sent), strict=True):
        assert result["status"] == 200
        alone, listed = server.post(one).json, result["response"]
        check_list(one, listed)
        assert {**listed, "timings_ms": None} == {**alone, "timings_ms": None}


def test_a_request_without_an_id_is_named_by_the_batch_and_its_place(server: Live) -> None:
    reply = post(server, {"requests": [request(), request(request_id="own"), {}]}, x_request_id="b7")
    first, second, third = reply.json["results"]
    assert first["response"]["request_id"] == "b7-0"
    assert second["response"]["request_id"] == "own"
    assert third["problem"]["request_id"] == "b7-2"
    assert reply.headers["x-request-id"] == "b7"
    assert reply.headers["server-timing"].startswith("lag;dur=")


def test_a_broken_request_spoils_no_other_and_names_its_own_fields(server: Live) -> None:
    broken: list[tuple[Any, str]] = [
        (request() | {"candidates": [candidate(0, id=7)]}, "candidates[0].id"),
        (request() | {"candidates": [candidate(0), candidate(0)]}, "candidates[1].id"),
        (request(model="absent"), "model"),
        ({"candidates": []}, "candidates"),
        (request(colour="red"), "colour"),
        (5, ""),
        (None, ""),
    ]
    sent = [part for body, _ in broken for part in (request(), body)]
    found = results(server, *sent)
    assert [r["status"] for r in found[::2]] == [200] * len(broken)
    for (_, field), result in zip(broken, found[1::2], strict=True):
        assert result["status"] == result["problem"]["status"] == 422
        assert [error["field"] for error in result["problem"]["errors"]] == [field]


@pytest.mark.parametrize("count", [0, MOST_REQUESTS + 1, 100_000])
def test_too_few_and_too_many_are_refused_by_name(server: Live, count: int) -> None:
    reply = post(server, b'{"requests":[%b]}' % b",".join([b"{}"] * count))
    assert reply.status == 422
    assert reply.json["errors"][0]["field"] == "requests"
    assert f"between 1 and {MOST_REQUESTS}" in reply.json["detail"]


def test_as_many_as_allowed_are_answered(server: Live) -> None:
    assert [r["status"] for r in results(server, *[request(3)] * MOST_REQUESTS)] == [200] * MOST_REQUESTS


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"requests":[{}', 400, None),
        (b"", 400, None),
        (b'{"requests":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}", 400, None),
        (b'{"requests":[' + b'{"a":' * 100_000, 400, None),
        (b"[]", 422, ""),
        (b"{}", 422, "requests"),
        (b'{"requests":{}}', 422, "requests"),
        (b'{"requests":[{}],"more":1}', 422, "more"),
        (
            b'{"requests":[{"candidates":[{"id":"a","scores":{"ctr":NaN}}]}]}',
            422,
            "requests[0].candidates[0].scores.ctr",
        ),
    ],
)
def test_a_body_that_is_no_batch_is_refused_as_a_whole(
    server: Live, body: bytes, status: int, field: str | None
) -> None:
    reply = post(server, body)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in reply.json["errors"]] == ([] if field is None else [field])


def test_keys_media_types_and_methods_hold_as_for_one_request(tiny_model: Model) -> None:
    with live_app(tiny_model, api_keys="secret") as live:
        body = {"requests": [request()]}
        assert post(live, body).status == 401
        assert post(live, body, authorization="Bearer secret").status == 200
        assert post(live, body, authorization="Bearer secret", content_encoding="br").status == 415
        refused = live.get("/v1/rerank/batch", {"authorization": "Bearer secret"})
        assert (refused.status, refused.headers["allow"]) == (405, "OPTIONS, POST")


def test_a_batch_may_be_larger_than_a_request_and_none_of_its_requests_may_be(tiny_model: Model) -> None:
    large = request(context={"hour": 3, "page": "x" * 7_000})
    with live_app(tiny_model, max_body_bytes=10_000) as live:
        assert live.post(request(60)).status == 413
        found = results(live, large, request(60), large)
        assert [r["status"] for r in found] == [200, 413, 200]
        assert found[1]["problem"]["type"] == "urn:listwright:problem:body-too-large"
        assert post(live, {"requests": [large] * 5}).status == 413
        assert live.series(BATCHES, outcome="invalid") == 1


def test_all_of_a_batch_in_part_counts_as_unfinished(tiny_model: Model) -> None:
    with live_app(tiny_model, max_body_bytes=10_000) as live, socket.create_connection((HOST, live.port)) as client:
        # The path is what counts, however it is written.
        head = b"POST /v1/rerank/%62atch?a=1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        client.sendall(head + b"Content-Length: 39000\r\n\r\n" + b" " * 35_000)
        eventually(lambda: (live.series("rerank_unfinished_bytes") or 0) >= 35_000)


def test_there_is_a_503_for_all_only_if_none_had_a_place() -> None:
    with live_app(ready=False) as live:
        reply = post(live, {"requests": [request(), request()]})
        assert (reply.status, reply.json["type"]) == (503, "urn:listwright:problem:not-ready")
        assert reply.headers["retry-after"] == "1"
        found = results(live, request(), {})
        assert [r["status"] for r in found] == [503, 422]


@contextlib.contextmanager
def posting(live: Live, *requests: Any) -> Iterator[Future[Reply]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(post, live, {"requests": requests})


def test_requests_without_a_place_are_refused_one_by_one() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=1) as live, posting(live, *[request()] * 3) as answer:
        eventually(lambda: live.series(REQUESTS, outcome="rejected") == 2)
        engine.hold.set()
        found = answer.result().json["results"]
        assert [r["status"] for r in found] == [200, 503, 503]
        assert found[1]["problem"]["type"] == "urn:listwright:problem:overloaded"


def test_a_batch_too_many_is_refused_as_a_whole() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=2) as live, ThreadPoolExecutor(2) as pool:
        first = pool.submit(results, live, request(), {})
        eventually(lambda: live.series(REQUESTS, outcome="invalid") == 1)
        second = pool.submit(results, live, {}, {}, request())
        eventually(lambda: live.series(REQUESTS, outcome="invalid") == 3)
        third = post(live, {"requests": [request()]})
        assert (third.status, third.json["type"]) == (503, "urn:listwright:problem:overloaded")
        assert third.headers["retry-after"] == "1"
        assert live.series(BATCHES, outcome="rejected") == 1
        engine.hold.set()
        assert [r["status"] for r in first.result()] == [200, 422]
        assert [r["status"] for r in second.result()] == [422, 422, 200]
        assert post(live, {"requests": [request()]}).status == 200


def test_batches_in_progress_hold_bodies_of_so_many_bytes() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    large = json.dumps({"requests": [request()]}).encode() + b" " * 700_000
    with (
        live_app(fake_model(engine), max_unfinished_mb=1, max_body_bytes=900_000) as live,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(post, live, large)
        eventually(lambda: engine.batches)
        assert post(live, large).status == 503
        small = pool.submit(post, live, {"requests": [{}]})
        engine.hold.set()
        assert (first.result().status, small.result().status) == (200, 200)
        assert post(live, large).status == 200


def in_progress(live: Live, engine: FakeEngine) -> int:
    """How many requests wait for the engine or are in its last run, which may take some together."""
    return int(live.series("rerank_queue_depth") or 0) + (len(engine.batches[-1]["valid"]) if engine.batches else 0)


class StepEngine(FakeEngine):
    """Makes one run for each permit."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = threading.Semaphore(0)
        self.granted = 0

    def run(self, batch: BatchArrays) -> Arrays:
        answer = super().run(batch)
        assert self.permits.acquire(timeout=WAIT_SECONDS)
        return answer

    def grant(self, runs: int) -> None:
        self.granted += runs
        self.permits.release(runs)

    def stands(self) -> bool:
        """Whether a run waits for its permit."""
        return len(self.batches) == self.granted + 1


def test_a_single_request_is_answered_before_the_rest_of_a_batch() -> None:
    engine = StepEngine()
    with live_app(fake_model(engine)) as live, posting(live, *[request(8)] * MOST_REQUESTS) as batch:
        for _ in range(2):
            # As many requests of the batch as may be in progress are, and the others have not begun.
            eventually(lambda: engine.stands() and in_progress(live, engine) == 8)
            runs = len(engine.batches)
            with ThreadPoolExecutor(1) as pool:
                single = pool.submit(live.post, request(3))
                eventually(lambda: in_progress(live, engine) == 9)
                engine.grant(2)  # The run that goes on, and the next.
                assert single.result().json["degraded"] is None
            assert [slots(rows) for rows in engine.batches[runs]["valid"]] == [3]
            assert not batch.done()
        engine.permits.release(MOST_REQUESTS)
        found = batch.result().json["results"]
    assert [r["status"] for r in found] == [200] * MOST_REQUESTS
    assert all(r["response"]["degraded"] is None for r in found)


def slots(valid: Any) -> int:
    return int(valid.sum())


def test_requests_of_a_batch_take_no_place_of_single_ones() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=8) as live, posting(live, *[request()] * 20) as batch:
        eventually(lambda: in_progress(live, engine) == 8)
        with ThreadPoolExecutor(8) as pool:
            singles = [pool.submit(live.post, request()) for _ in range(8)]
            eventually(lambda: in_progress(live, engine) == 16)
            engine.hold.set()
            assert [single.result().status for single in singles] == [200] * 8
        assert [r["status"] for r in batch.result().json["results"][:8]] == [200] * 8


def test_requests_whose_turn_comes_after_a_reload_get_the_new_version() -> None:
    engine, newer = FakeEngine(), fake_model(FakeEngine())
    engine.hold.clear()
    with live_app(fake_model(engine)) as live, posting(live, *[request()] * 20) as batch:
        eventually(lambda: in_progress(live, engine) == 8)
        live.registry.publish(replace(newer, manifest=replace(newer.manifest, version="2")))
        engine.hold.set()
        answers = [r["response"] for r in batch.result().json["results"]]
    assert [answer["version"] for answer in answers] == ["1"] * 8 + ["2"] * 12
    assert all(answer["degraded"] is None for answer in answers)


def test_with_observed_deadlines_the_model_answers_however_late() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    late = live_app(fake_model(engine), deadline_mode="observe", batch_budget_ms=1)
    with late as live, posting(live, request(), request()) as batch:
        eventually(lambda: engine.batches)
        time.sleep(0.005)  # The budget.
        engine.hold.set()
        assert [r["response"]["degraded"] for r in batch.result().json["results"]] == [None, None]


def test_a_request_that_has_had_its_budget_is_answered_without_the_model() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), batch_budget_ms=30) as live:
        (late,) = results(live, request())
        assert late["response"]["degraded"]["reason"] == "deadline"
        engine.hold.set()
        assert live.post(request()).json["degraded"] is None


def test_what_a_caller_waits_counts_from_the_arrival_of_the_batch(tiny_model: Model) -> None:
    with live_app(tiny_model) as live:
        patient, hurried = results(live, request(), request(timeout_ms=1e-3))
        assert patient["response"]["degraded"] is None
        assert hurried["response"]["degraded"]["level"] == "input"
        reply = post(live, {"requests": [request()] * 3}, x_request_timeout_ms="0.001")
        assert [r["response"]["degraded"]["level"] for r in reply.json["results"]] == ["input"] * 3


def test_a_client_that_leaves_ends_its_batch() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine)) as live:
        body = json.dumps({"requests": [request()] * 20}).encode()
        head = "POST /v1/rerank/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
        with socket.create_connection((HOST, live.port)) as client:
            client.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
            eventually(lambda: in_progress(live, engine) == 8)
        eventually(lambda: live.series(BATCHES, outcome="cancelled") == 1)
        assert live.series(REQUESTS, outcome="cancelled") == 8
        engine.hold.set()
        assert live.post(request()).status == 200
        assert len(engine.batches) == 2


def test_batches_are_outside_the_objective_of_single_requests(tiny_model: Model) -> None:
    labels = {"model": "tiny", "version": "1", "outcome": "ok"}
    with live_app(tiny_model) as live:
        assert live.series(REQUESTS, outcome="ok") == 0
        results(live, request(), {}, request())
        eventually(lambda: live.series(BATCHES, outcome="ok") == 1)
        assert live.series(REQUESTS, outcome="ok") == 2
        assert live.series(REQUESTS, outcome="invalid") == 1
        assert not live.series("rerank_request_duration_seconds_count", **labels)
        assert live.get("/v1/slo").json["requests"] == 0
        eventually(lambda: live.series("rerank_in_flight") == 0)
