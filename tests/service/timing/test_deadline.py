"""The deadline of a request: the least of the configured budget, the body's wish and the headers' wishes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ranking import endpoint as endpoint_module
from service.timing.admission import AdmissionWindow
from service.timing.deadline import CLOSE_SECONDS, HEADERS, Deadline, header_timeout, is_close, latest_starts
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import WAIT_SECONDS, FakeEngine, Live, Reply, fake_model, live_app
from tests.service.raw import connected
from tests.service.requests import check_list, request

MS = "x-request-timeout-ms"
ENVOY = "x-envoy-expected-rq-timeout-ms"
GRPC = "grpc-timeout"
IGNORED = "rerank_deadline_headers_ignored_total"


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        (MS, "19", 0.019),
        (MS, "1", 0.001),
        (MS, "0.5", 0.0005),
        (MS, "  19  ", 0.019),
        (MS, "00019", 0.019),
        (MS, "999999999999", 999999999.999),
        (ENVOY, "250", 0.25),
        (ENVOY, "12.5", 0.0125),
        (GRPC, "1H", 3600.0),
        (GRPC, "2M", 120.0),
        (GRPC, "3S", 3.0),
        (GRPC, "19m", 0.019),
        (GRPC, "19000u", 0.019),
        (GRPC, "19000000n", 0.019),
        (GRPC, "99999999H", 99999999 * 3600.0),
    ],
)
def test_a_header_is_read_in_its_own_unit(name: str, value: str, seconds: float) -> None:
    found, ignored = header_timeout({name.encode(): value.encode()})
    assert found == pytest.approx(seconds, rel=1e-12)
    assert not ignored


NUMBERS = ["0", "0.0", "-1", "-0", "+5", "1e3", "1e999", "NaN", "inf", "Infinity", "0x10", "1_000", ".5", "5.", "1,5"]
TEXTS = ["", " ", "soon", "19ms", "19 20", "19, 20", "\xff19", "\xb2", "\u0661\u0669", "9" * 400, "9" * 10_240]
SPANS = ["0m", "0H", "5", "5s", "5h", "m", "-5m", "1.5S", "5 m", "999999999m", "5mS", "mm", "", "\xb2m", "5m" * 5_120]


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in (MS, ENVOY) for value in NUMBERS + TEXTS] + [(GRPC, value) for value in SPANS],
)
def test_a_wish_that_makes_no_sense_is_ignored_and_named(name: str, value: str) -> None:
    raw = value.encode("utf-8" if any(ord(c) > 255 for c in value) else "latin-1")
    assert header_timeout({name.encode(): raw}) == (math.inf, (name,))


def test_the_shortest_of_several_counts_and_a_senseless_one_beside_them_does_not() -> None:
    headers = {MS: b"30", ENVOY: b"never", GRPC: b"20m", "timeout": b"1"}
    found, ignored = header_timeout({name.encode(): value for name, value in headers.items()})
    assert found == pytest.approx(0.02)
    assert ignored == (ENVOY,)
    assert header_timeout({}) == (math.inf, ())


@given(st.dictionaries(st.sampled_from(sorted(HEADERS)), st.binary(max_size=40)))
def test_whatever_the_headers_hold_the_wish_is_a_positive_number_or_ignored(headers: dict[bytes, bytes]) -> None:
    seconds, ignored = header_timeout(headers)
    assert seconds > 0
    assert (len(ignored) == len(headers)) == (seconds == math.inf)
    assert {name.encode() for name in ignored} <= headers.keys()


@pytest.fixture
def stuck() -> Iterator[FakeEngine]:
    """An engine that does not answer: a request ends at its deadline and not before."""
    engine = FakeEngine()
    engine.hold.clear()
    yield engine
    engine.hold.set()


def check_gave_up(reply: Reply) -> None:
    """The model was given up in time for the formula; had the deadline not counted, the engine would have failed."""
    assert reply.status == 200
    check_list(request(), reply.json)
    assert reply.json["degraded"]["reason"] == "deadline"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({MS: "60"}, {}),
        ({ENVOY: "60"}, {}),
        ({GRPC: "60m"}, {}),
        ({GRPC: "60000u"}, {}),
        ({GRPC: "60000000n"}, {}),
        ({}, {"timeout_ms": 60}),
        ({MS: "60"}, {"timeout_ms": 60_000}),
        ({MS: "60000"}, {"timeout_ms": 60}),
        ({MS: "60000", ENVOY: "60", GRPC: "1H"}, {"timeout_ms": 50_000}),
        ({MS: "nonsense", ENVOY: "60"}, {}),
    ],
)
def test_the_shortest_wish_of_body_and_headers_counts(
    stuck: FakeEngine, headers: dict[str, str], body: dict[str, Any]
) -> None:
    with live_app(fake_model(stuck)) as live:
        check_gave_up(live.post(request(**body), headers))
        assert 0.03 < live.records[-1].seconds < 5
        stuck.hold.set()


def test_a_generous_wish_does_not_lengthen_the_budget(stuck: FakeEngine) -> None:
    with live_app(fake_model(stuck), budget_ms=60) as live:
        for headers, body in [({MS: "60000"}, {}), ({GRPC: "1H"}, {}), ({}, {"timeout_ms": 60_000})]:
            reply = live.post(request(**body), headers)
            assert reply.json["degraded"]["reason"] in ("deadline", "wait")
            assert live.records[-1].seconds < 5
        stuck.hold.set()


def test_the_deadline_counts_from_the_first_byte_and_not_from_the_last(stuck: FakeEngine) -> None:
    with live_app(fake_model(stuck), budget_ms=200) as live, connected(live.port) as client:
        client.send(b"POST /v1/rerank HTTP/1.1\r\n")
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.read()
        client.sock.settimeout(WAIT_SECONDS)
        body = b'{"candidates": [{"id": "a", "scores": {"ctr": 0.1, "cvr": 0.1}}]}'
        client.send(b"Host: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.answer().json["degraded"] == {"reason": "deadline", "level": "input"}
        stuck.hold.set()


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_app(fake_model()) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in (MS, ENVOY) for value in ("0", "-5", "1e999", "", "\xff\xfe", "9" * 10_240)]
    + [(GRPC, value) for value in ("0S", "-1S", "5", "999999999H", "", "\xff", "S" * 10_240)],
)
def test_a_senseless_header_never_fails_a_request_and_is_counted(live: Live, name: str, value: str) -> None:
    before = live.series(IGNORED, header=name)
    assert before is not None
    reply = live.post(request(), {name: value})
    assert reply.status == 200
    assert reply.json["degraded"] is None
    check_list(request(), reply.json)
    assert live.series(IGNORED, header=name) == before + 1
    assert live.records[-1].ignored_headers == (name,)


def test_a_sound_header_is_not_counted_as_ignored(live: Live) -> None:
    before = [live.series(IGNORED, header=name) for name in (MS, ENVOY, GRPC)]
    assert live.post(request(), {MS: "5000", ENVOY: "5000", GRPC: "5S"}).json["degraded"] is None
    assert [live.series(IGNORED, header=name) for name in (MS, ENVOY, GRPC)] == before


@pytest.mark.parametrize("wish", ["0", "-0.0", "-1", "1e-400", "60001", "1e300", "NaN", '"19"', "true", "[19]", "{}"])
def test_a_senseless_wish_in_the_body_is_422_and_named(live: Live, wish: str) -> None:
    body = b'{"candidates": [{"id": "a", "scores": {"ctr": 0.1, "cvr": 0.1}}], "timeout_ms": %s}' % wish.encode()
    assert_problem(live.post(body), 422, "invalid-request", "timeout_ms")


def test_an_answer_is_close_when_less_than_the_margin_is_left() -> None:
    deadline = Deadline(100.0)
    assert not is_close(deadline, clock=lambda: 100.0 - 1.001 * CLOSE_SECONDS)
    assert is_close(deadline, clock=lambda: 100.0 - 0.999 * CLOSE_SECONDS)
    assert is_close(deadline, clock=lambda: 101.0)


@pytest.mark.parametrize("close", [False, True])
def test_an_answer_that_is_close_to_its_deadline_makes_the_window_smaller(
    close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the model's list all the same."""
    learnt: list[bool] = []
    monkeypatch.setattr(endpoint_module, "is_close", lambda _: close)
    monkeypatch.setattr(AdmissionWindow, "ended", lambda _window, _ticket, *, late: learnt.append(late))
    with live_app(fake_model()) as live:
        reply = live.post(request())
        check_list(request(), reply.json)
        assert reply.json["degraded"] is None
        live.post(request(timeout_ms=20_000))
    assert learnt == [close], "a request with less time than the budget teaches nothing"


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0.001, 0.1))
def test_lists_by_the_formula_begin_early_enough_for_all_behind_them(deadlines: list[float], each: float) -> None:
    deadlines.sort()
    starts = latest_starts(deadlines, each)
    assert all(start <= deadline for start, deadline in zip(starts, deadlines, strict=True))
    assert all(later - sooner >= each - 1e-9 for sooner, later in itertools.pairwise(starts))
