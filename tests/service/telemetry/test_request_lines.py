"""What a service really writes to stderr about its requests."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.telemetry.records import OUTCOMES
from tests.service.requests import candidate, request
from tests.service.telemetry.process import HOST, WAIT_SECONDS, Service, serving, wait_for

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "marked-7c1f"
KEY = "k" * 32
NUMBERS = {"duration_ms", "stage_lag_ms", "stage_decode_ms", "stage_infer_ms", "stage_respond_ms"}
ODD_IDS = ['a" outcome=forged b="', "line\nbreak", "\x1b[2J\u2028\u202e", "名前", "{}", "x" * 128]
Line = dict[str, Any]


class Lines:
    """The lines of a running service's log about requests."""

    def __init__(self, service: Service) -> None:
        self.service = service
        service.wait_until_ready()

    @property
    def all(self) -> list[Line]:
        text = self.service.log.read_text("utf-8")
        whole = text[: text.rindex("\n") + 1]
        found = [json.loads(line) for line in whole.splitlines()]
        return [line for line in found if line["logger"] == "service.requests"]

    def of(self, request_id: str, message: str = "request", count: int = 1) -> list[Line]:
        """The lines with this id, once there are so many."""

        def found() -> list[Line]:
            return [x for x in self.all if (x["message"], x.get("request_id")) == (message, request_id)]

        wait_for(lambda: len(found()) >= count)
        return found()

    def ask(self, body: Any, path: str = "/v1/rerank", key: str = KEY, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, answer = self.service.ask(path, body, headers={"Authorization": f"Bearer {key}", **named})
        return status, json.loads(answer)


def lines_of(text: Sequence[str]) -> list[Line]:
    return [line for line in map(json.loads, text) if line["logger"] == "service.requests"]


@pytest.fixture(scope="module")
def verbose(bundle: Path) -> Iterator[Lines]:
    """A service with a key that logs every request, and has time for each."""
    flags = ("--log-requests", "1", "--budget-ms", "30000", "--batch-budget-ms", "30000")
    with serving(bundle.parents[1], *flags, environment={"LISTWRIGHT_API_KEYS": KEY}) as service:
        yield Lines(service)


def test_a_request_has_a_line_with_typed_fields(verbose: Lines) -> None:
    assert verbose.ask(request(request_id="whole"), traceparent=TRACE)[0] == 200
    (line,) = verbose.of("whole")
    assert (line["trace_id"], len(line["span_id"])) == (TRACE.split("-")[1], 16)
    assert line["span_id"] != TRACE.split("-")[2]
    named = {name: line[name] for name in ("key", "scene", "model", "version", "outcome", "status", "rung", "peer")}
    assert named == {
        "key": "key-1",
        "scene": "none",
        "model": "tiny",
        "version": "1",
        "outcome": "ok",
        "status": 200,
        "rung": "plan",
        "peer": "127.0.0.1",
    }
    assert (line["candidates"], line["sampled"], line["slow"]) == (8, True, False)
    assert line.keys() >= NUMBERS
    assert all(type(line[name]) is float for name in line if name.endswith("_ms")), "an index would guess integers"
    assert sum(value for name, value in line.items() if name.startswith("stage_")) > 0


@pytest.mark.parametrize("request_id", ODD_IDS, ids=ascii)
def test_odd_characters_in_an_id_stay_in_their_field(verbose: Lines, request_id: str) -> None:
    assert verbose.ask(request(2, request_id=request_id))[0] == 200
    (line,) = verbose.of(request_id)
    assert line["outcome"] == "ok"


def test_no_line_has_what_the_body_says_of_users_or_items(verbose: Lines) -> None:
    marked = [
        candidate(i, id=f"{SECRET}-{i}", features={"category": SECRET, SECRET: SECRET}, tags={"t": SECRET})
        for i in range(4)
    ]
    sent = request(request_id="marked", candidates=marked, user={"age": SECRET, SECRET: 1}, context={"x": SECRET})
    assert verbose.ask(sent)[0] == 200
    assert verbose.ask({**sent, "request_id": "marked-2", "candidates": [*marked, marked[0]]})[0] == 422
    status, answer = verbose.ask({"requests": [{**sent, "request_id": "marked-3"}]}, "/v1/rerank/batch")
    assert (status, answer["results"][0]["status"]) == (200, 200)
    for request_id in ("marked", "marked-2", "marked-3"):
        verbose.of(request_id)
    assert SECRET not in verbose.service.log.read_text("utf-8")


def test_a_batch_has_a_line_with_counts_and_its_requests_have_theirs(verbose: Lines) -> None:
    bodies = [request(2, request_id="of-batch"), {"candidates": 7}, request(2)]
    status, _ = verbose.ask({"requests": bodies}, "/v1/rerank/batch", x_request_id="batch-1")
    assert status == 200
    (line,) = verbose.of("batch-1", "batch")
    assert line["requests"] == 3
    counts = {outcome: line[f"requests_{outcome}"] for outcome in OUTCOMES}
    assert {outcome for outcome, count in counts.items() if count} == {"ok", "invalid"}
    assert (line["outcome"], line["key"], line["peer"]) == ("ok", "key-1", "127.0.0.1")
    own = [*verbose.of("of-batch"), *verbose.of("batch-1-1"), *verbose.of("batch-1-2")]
    assert {one["batch_id"] for one in own} == {"batch-1"}
    assert [one["outcome"] for one in own] == ["ok", "invalid", "ok"]


@pytest.mark.long
def test_refusals_have_a_line_of_each_kind_and_their_number_at_the_end(bundle: Path) -> None:
    with serving(bundle.parents[1], "--log-requests", "0", environment={"LISTWRIGHT_API_KEYS": KEY}) as service:
        lines = Lines(service)
        for i in range(12):
            assert lines.ask(request(2), key="wrong")[0] == 401
            assert lines.ask({"candidates": []}, x_request_id=f"empty-{i}")[0] == 422
        _, text = service.stop()
    found = [line for line in lines_of(text) if line["message"] == "requests refused"]
    kinds = [(x["peer"], x["key"], x["reason"], x["status"], x["level"], x["refused"]) for x in found]
    unauthorized = ("127.0.0.1", "none", "unauthorized", 401, "warning")
    invalid = ("127.0.0.1", "key-1", "invalid-request", 422, "info")
    assert kinds == [(*unauthorized, 1), (*invalid, 1), (*unauthorized, 11), (*invalid, 11)]
    assert (found[1]["request_id"], found[3]["request_id"]) == ("empty-0", "empty-11")


def keep_out(lines: Lines) -> list[tuple[str, str]]:
    """Ask with no key, a wrong key, and wrong HTTP on both ports; the peers and reasons of the log's lines."""
    service = lines.service
    for port, path in ((service.port, "/v1/models"), (service.admin_port, "/admin/v1/models")):
        for headers in ({}, {"Authorization": "Bearer wrong", "traceparent": TRACE}):
            assert service.ask(path, headers=headers, port=port)[0] == 401
        for _ in range(2):
            with socket.create_connection((HOST, port), timeout=WAIT_SECONDS) as connection:
                connection.sendall(b"nonsense\r\n\r\n")
                assert b'"status":400' in connection.makefile("rb").read()
    wait_for(lambda: len(lines.all) >= 2)
    status, text = service.stop()
    assert status == 0
    assert "service.access.keys" not in "".join(text), "nothing else logs a refused request"
    return [(x["reason"], x["peer"]) for x in lines_of(text) for _ in range(x["refused"])]


@pytest.mark.long
def test_those_without_a_key_and_with_wrong_http_are_in_the_log_whatever_they_ask(bundle: Path) -> None:
    with serving(bundle.parents[1], "--log-requests", "0", environment={"LISTWRIGHT_API_KEYS": KEY}) as service:
        found = keep_out(Lines(service))
    assert sorted(found) == [*[("malformed-http", HOST)] * 4, *[("unauthorized", HOST)] * 4]


@pytest.mark.slow
def test_the_supervisor_of_workers_logs_those_of_the_admin_port(bundle: Path) -> None:
    flags = ("--workers", "2", "--log-requests", "0")
    with serving(bundle.parents[1], *flags, environment={"LISTWRIGHT_API_KEYS": KEY}) as service:
        found = keep_out(Lines(service))
    assert sorted(found) == [*[("malformed-http", HOST)] * 4, *[("unauthorized", HOST)] * 4]


@pytest.mark.long
def test_without_a_share_only_trouble_has_a_line(bundle: Path) -> None:
    flags = ("--log-requests", "0", "--budget-ms", "30000", "--log-slow-ms", "30000")
    with serving(bundle.parents[1], *flags) as service:
        lines = Lines(service)
        for i in range(5):
            assert lines.ask(request(2, request_id=f"good-{i}"))[0] == 200
        status, answer = lines.ask(request(2, request_id="hurried", timeout_ms=0.01))
        assert (status, answer["degraded"]["level"]) == (200, "input")
        lines.of("hurried")
        _, text = service.stop()
    (line,) = lines_of(text)
    assert (line["outcome"], line["rung"], line["sampled"], line["slow"]) == ("degraded", "input", False, False)
    assert line["degraded"] == answer["degraded"]["reason"]


@pytest.mark.slow
def test_workers_write_lines_as_one_process_does(bundle: Path) -> None:
    flags = ("--workers", "2", "--log-requests", "0", "--budget-ms", "30000", "--log-slow-ms", "0.001")
    with serving(bundle.parents[1], *flags) as service:
        lines = Lines(service)
        for i in range(8):
            assert lines.ask(request(2, request_id=f"w-{i}"))[0] == 200
            assert lines.ask({"candidates": []})[0] == 422
        for i in range(8):
            lines.of(f"w-{i}")
        _, text = service.stop()
    found = lines_of(text)
    assert sum(line["message"] == "request" and line["slow"] for line in found) == 8
    assert sum(line["refused"] for line in found if line["message"] == "requests refused") == 8


@pytest.mark.long
def test_the_text_form_has_the_fields_as_words(bundle: Path) -> None:
    with serving(bundle.parents[1], "--log-requests", "1", "--log-json", "false", "--budget-ms", "30000") as service:
        service.wait_until_ready()
        assert service.ask("/v1/rerank", request(2, request_id=ODD_IDS[0]))[0] == 200
        wait_for(lambda: "stage_respond_ms" in service.log.read_text("utf-8"))
        _, text = service.stop()
    (line,) = [line for line in text if " service.requests: request " in line]
    assert r' INFO service.requests: request request_id="a\" outcome=forged b=\"" peer=127.0.0.1 key=none' in line
    assert " outcome=ok status=200 rung=plan candidates=2 batch_size=1 sampled=true slow=false duration_ms=" in line
