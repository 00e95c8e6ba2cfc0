"""Verdicts on made-up answers, cases that are the same for the same seed, and one short real run."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest.requests.forms import FORMS
from loadtest.requests.payloads import Payload, from_bundle
from loadtest.requests.wrong_columns import SPOILS
from loadtest.resilience.fuzz import wire
from loadtest.resilience.fuzz.findings import Findings
from loadtest.resilience.fuzz.forms import CODINGS, FormCase, judge_form, make_form_case
from loadtest.resilience.fuzz.mutations import StreamCase, make_case, seeds
from loadtest.resilience.fuzz.wire import Exchange, exchange, judge
from tests.loadtest.specs import write_bundle_json

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODY = b'{"model": "a"}'


def problem(status: int, kind: str = "x", told: int | None = None) -> bytes:
    body = json.dumps({"type": f"urn:listwright:problem:{kind}", "status": told or status, "detail": "why"}).encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/problem+json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def verdict(
    received: bytes,
    *,
    closed: bool = True,
    silent: bool = False,
    head: bool = False,
    expected: int = 1,
    most: int | None = None,
    sound: bool = False,
) -> str | None:
    return judge(Exchange(received, closed, silent), head=head, expected=expected, most=most, sound=sound)[0]


@pytest.mark.parametrize(
    "received",
    [b"", OK, CONTINUE + OK, OK + problem(400), problem(501), problem(505), problem(503, "overloaded"), problem(431)],
)
def test_sound_answers_and_a_closed_connection_are_expected(received: bytes) -> None:
    assert verdict(received) is None


@pytest.mark.parametrize(
    ("received", "fault"),
    [
        (b"hello\r\n\r\n", "not HTTP: no status line"),
        (b"HTTP/1.1 200 OK", "not HTTP: a head without an end"),
        (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "not HTTP: no header"),
        (b"HTTP/1.1 200 OK\r\nx: 1\r\n\r\n", "not HTTP: a response without a length"),
        (OK[:-1], "not HTTP: a body of 1 bytes instead of 2"),
        (OK + b"{}", "not HTTP"),
        (problem(500), "status 500: why"),
        (problem(503), "status 503: why"),
        (problem(400, told=422), "status 400 with a problem of status 422"),
        (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", "status 404 with content type ''"),
        (b"HTTP/1.1 307 No\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", "a redirect to '/x'"),
    ],
)
def test_each_kind_of_unexpected_answer_is_told(received: bytes, fault: str) -> None:
    assert (verdict(received) or "").startswith(fault)


def test_silence_too_many_answers_and_a_refused_sound_request_are_unexpected() -> None:
    assert verdict(b"", closed=False, silent=True) == "neither an answer nor an end in time"
    assert verdict(OK + OK, most=1) == "2 answers to 1 requests"
    assert verdict(OK + OK, most=2) is None
    assert verdict(OK, expected=2, sound=True) == "2 sound requests were answered {200: 1}"
    assert verdict(problem(400), sound=True) == "1 sound requests were answered {400: 1}"
    assert verdict(problem(422), sound=True) is None


def test_an_answer_to_head_has_no_body() -> None:
    bare = OK.partition(b"{")[0]
    assert verdict(bare, head=True) is None
    assert verdict(bare + OK + bare, head=True) is None
    assert (verdict(bare) or "").startswith("not HTTP")
    assert verdict(OK, head=True) is None, "the method may have been changed again"


def test_cases_depend_on_the_seed_only_and_can_be_kept(tmp_path: Path) -> None:
    first, again, other = (random.Random(seed) for seed in (1, 1, 2))
    cases = [make_case(first, seeds(BODY, (b"packed", "zstd"))) for _ in range(300)]
    assert cases == [make_case(again, seeds(BODY, (b"packed", "zstd"))) for _ in range(300)]
    assert cases != [make_case(other, seeds(BODY)) for _ in range(300)]
    assert {case.port for case in cases} == {"public", "admin"}
    assert any(case.sound for case in cases)
    sent = b"".join(packet for case in cases for packet in case.packets)
    assert b"Content-Encoding: zstd" in sent
    assert b"packed" in sent
    for case in cases[:20]:
        case.save(tmp_path / "case.json", "why")
        assert StreamCase.load(tmp_path / "case.json") == case


@pytest.mark.parametrize(
    ("answer", "closes", "wanted"),
    [
        (OK, False, (OK, False, False)),
        (b"", True, (b"", True, False)),
        (b"HTTP/1.1 20", False, (b"HTTP/1.1 20", False, True)),
    ],
)
def test_an_exchange_ends_with_the_answer_the_end_or_the_limit(
    answer: bytes, closes: bool, wanted: tuple[bytes, bool, bool]
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        if closes:
            writer.close()
        else:
            await reader.read()
            writer.close()

    async def work() -> Exchange:
        async with await asyncio.start_server(serve, wire.HOST, 0) as server:
            port = server.sockets[0].getsockname()[1]
            limit = 0.2 if wanted[2] else 30
            return await exchange(port, [b"GET", b" /"], answers=1, patient=False, head=False, limit=limit)

    assert asyncio.run(work()) == Exchange(*wanted)


def test_a_summary_shows_what_was_unexpected() -> None:
    findings = Findings(cases=3)
    findings.statuses.update({200: 2, 500: 1})
    findings.add(None)
    findings.add("status 500: why", Path("kept.json"))
    assert findings.render("streams").splitlines() == [
        "streams: 3 cases, 1 unexpected; answers 200: 2, 500: 1",
        "  - status 500: why (kept.json)",
    ]
    assert findings.table()["unexpected"] == [{"fault": "status 500: why", "file": "kept.json"}]


@pytest.mark.long
def test_a_short_run_finds_nothing_and_a_kept_case_is_sent_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.resilience.fuzz", "--out", str(tmp_path)]
    run = [
        *command,
        "--schema-cases",
        "30",
        "--rule-cases",
        "60",
        "--form-cases",
        "120",
        "--stream-cases",
        "300",
        "--seed",
        "3",
    ]
    done = subprocess.run(run, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "fuzz.json").read_text("utf-8"))
    assert report["streams"]["cases"] == 300
    assert report["schemas"]["cases"] >= 10
    assert report["rules"]["cases"] == 60
    assert report["forms"]["cases"] == 120
    assert {"200", "400", "413", "415", "422"} <= report["forms"]["statuses"].keys()
    assert report["forms"]["unexpected"] == []
    assert report["streams"]["unexpected"] == report["schemas"]["unexpected"] == report["rules"]["unexpected"] == []
    assert {"200", "400", "422"} <= set(report["streams"]["statuses"])
    make_case(random.Random(1), seeds(BODY)).save(tmp_path / "kept.json", "why")
    again = [*command, "--replay", str(tmp_path / "kept.json")]
    replayed = subprocess.run(again, capture_output=True, text=True, timeout=240, check=False)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "as expected" in replayed.stdout


def test_cases_of_forms_depend_on_the_seed_and_come_in_all_forms_and_codings(tmp_path: Path) -> None:
    bundle = write_bundle_json(tmp_path)

    def drawn(seed: int) -> list[FormCase]:
        rng, source = random.Random(seed), from_bundle(bundle, seed=seed, embedding_width=2, items=40)
        return [make_form_case(rng, source) for _ in range(600)]

    cases = drawn(1)
    assert [case.done for case in cases] == [case.done for case in drawn(1)]
    done = {word for case in cases for word in case.done}
    assert {*FORMS, *CODINGS, *SPOILS, "cut off", "followed by more", "a bomb", "of another coding"} <= done
    assert {case.status for case in cases} == {200, 400, 413, 415, 422}


@pytest.mark.parametrize(
    ("case", "status", "answer", "fault"),
    [
        ({"status": 422, "named": "x"}, 422, {"errors": [{"field": "y"}]}, "['y'] is named instead of x"),
        ({"status": 422, "named": "x"}, 200, {}, "status 200 instead of 422: None"),
        ({"status": 413, "named": "x"}, 413, {"type": "urn:listwright:problem:y"}, "the problem is urn:"),
        ({}, 200, {"items": []}, "the list has 0 items instead of 1"),
    ],
)
def test_wrong_answers_to_forms_are_told(case: dict[str, Any], status: int, answer: Any, fault: str) -> None:
    found = FormCase(b"", {}, (), Payload(b"", ("a",), 1), **case)
    assert (judge_form(found, status, json.dumps(answer).encode(), None) or "").startswith(fault)


def test_another_list_than_that_of_the_objects_is_told() -> None:
    def listed(source: str) -> bytes:
        return json.dumps({"items": [{"id": "a", "index": 0, "position": 1, "source": source}]}).encode()

    case = FormCase(b"", {}, (), Payload(b"", ("a",), 1), b"{}")
    assert judge_form(case, 200, listed("model"), listed("model")) is None
    assert judge_form(case, 200, listed("model"), listed("formula")) == "the list is not that of the objects"
