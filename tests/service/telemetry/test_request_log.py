"""Which requests have a line, which are only counted, and that lines are bounded."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import pytest

from service.telemetry.request_log import (
    LEFT_OUT_SECONDS,
    MOST_A_SECOND,
    RequestLog,
    RequestLogOptions,
    is_sampled,
    request_fields,
    sampled_below,
)
from tests.service.telemetry.log_lines import Clock, fields_of, request_record

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Kept(RequestLog):
    """A log of requests whose clock is a test's, and the lines that it has written."""

    def __init__(self, caplog: pytest.LogCaptureFixture, share: float = 0.0, **options: Any) -> None:
        caplog.set_level(logging.INFO, "service.requests")
        self.clock = Clock()
        self._caplog = caplog
        budgets = {"slow_seconds": 0.019, "batch_slow_seconds": 0.25}
        super().__init__(
            RequestLogOptions(share=share, **{**budgets, **options}), clock=self.clock, later=self.clock.later
        )

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [fields_of(record) for record in self._caplog.records]


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": 0.0191},
        {"outcome": "degraded", "choice": None, "degraded": "wait", "level": "formula"},
        {"outcome": "error", "status": 500, "reason": "internal-error"},
        {"outcome": "cancelled", "status": 499, "seconds": 0.02},
        {"seconds": 0.26, "batch_id": "b-1"},
    ],
    ids=["slow", "degraded", "failed", "cancelled late", "slow in a batch"],
)
def test_trouble_has_a_line_whatever_the_share(caplog: pytest.LogCaptureFixture, changes: dict[str, Any]) -> None:
    log = Kept(caplog)
    log.observe(request_record(**changes))
    (line,) = log.lines
    assert line["message"] == "request"
    assert line["level"] == ("warning" if changes.get("outcome") == "error" else "info")
    assert (line["sampled"], line["slow"]) == (False, changes.get("seconds", 0) > 0.019)


@pytest.mark.parametrize(
    "changes",
    [{}, {"seconds": 0.0189}, {"outcome": "cancelled", "status": 499}, {"seconds": 0.24, "batch_id": "b-1"}],
    ids=["quick", "within the budget", "cancelled", "in a batch, within its budget"],
)
def test_other_requests_have_none_without_a_share(caplog: pytest.LogCaptureFixture, changes: dict[str, Any]) -> None:
    log = Kept(caplog)
    log.observe(request_record(**changes))
    assert log.lines == []


def test_with_a_share_of_one_every_request_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    log = Kept(caplog, share=1)
    for i in range(100):
        log.observe(request_record(request_id=f"r-{i}"))
    assert [line["request_id"] for line in log.lines] == [f"r-{i}" for i in range(100)]
    assert all(line["sampled"] for line in log.lines)


@pytest.mark.parametrize("share", [0.5, 0.01])
@pytest.mark.parametrize("kind", ["trace ids", "random ids", "ids that count up", "long ids that count up"])
def test_the_sample_has_the_share_that_was_asked_for(share: float, kind: str) -> None:
    n, rng, below = 20_000, random.Random(7), sampled_below(share)
    ids: Callable[[int], tuple[str, str | None]] = {
        "trace ids": lambda _i: ("", f"{rng.getrandbits(128):032x}"),
        "random ids": lambda _i: (f"{rng.getrandbits(64):016x}", None),
        "ids that count up": lambda i: (f"r-{i}", None),
        "long ids that count up": lambda i: (f"checkout-eu-west-1/2026-11-29/session-{i:09d}", None),
    }[kind]
    found = sum(is_sampled(*ids(i), below) for i in range(n))
    deviation = (n * share * (1 - share)) ** 0.5
    assert abs(found - n * share) < 5 * deviation


@pytest.mark.parametrize("request_id", ["", "é" * 128, "\ud800", "a\nb\x00"], ids=ascii)
def test_any_request_id_can_be_sampled(request_id: str) -> None:
    assert is_sampled(request_id, None, sampled_below(1))
    assert not is_sampled(request_id, None, sampled_below(0))


def test_the_trace_id_decides_as_the_ratio_sampler_of_opentelemetry_does() -> None:
    low = 0xA3CE929D0E0E4736
    assert is_sampled("any", TRACE, low + 1)
    assert not is_sampled("any", TRACE, low)
    assert sampled_below(0.25) == 2**62
    assert sampled_below(1) == 2**64


def test_a_larger_share_keeps_the_requests_of_a_smaller_one() -> None:
    ids = [f"r-{i}" for i in range(2000)]
    few = {i for i in ids if is_sampled(i, None, sampled_below(0.1))}
    many = {i for i in ids if is_sampled(i, None, sampled_below(0.3))}
    assert few < many


def test_a_line_has_typed_fields_and_none_that_is_missing() -> None:
    record = request_record(
        trace_id=TRACE,
        span_id="00f067aa0ba902b7",
        outcome="degraded",
        choice=None,
        degraded="deadline",
        level="formula",
        scene="home",
        key="checkout",
        seconds=0.0123456,
    )
    assert request_fields(record, sampled=True, slow=False) == {
        "request_id": "r-1",
        "trace_id": TRACE,
        "span_id": "00f067aa0ba902b7",
        "peer": "10.0.0.7",
        "key": "checkout",
        "scene": "home",
        "model": "tiny",
        "version": "1",
        "outcome": "degraded",
        "status": 200,
        "rung": "formula",
        "degraded": "deadline",
        "candidates": 8,
        "batch_size": 1,
        "sampled": True,
        "slow": False,
        "duration_ms": 12.346,
        "stage_lag_ms": 0.1,
        "stage_decode_ms": 0.2,
    }
    plain = request_fields(request_record(), sampled=False, slow=True)
    assert not {"trace_id", "span_id", "batch_id", "degraded", "reason"} & plain.keys()
    assert plain["rung"] == "plan"


@pytest.mark.parametrize("outcome", ["degraded", "error", "ok"])
def test_a_storm_is_bounded_and_what_is_left_out_is_told(caplog: pytest.LogCaptureFixture, outcome: str) -> None:
    log = Kept(caplog)
    cause = "slow" if outcome == "ok" else outcome
    storm = request_record(outcome=outcome, seconds=1.0)
    for _ in range(500):
        log.observe(storm)
    assert len(log.lines) == MOST_A_SECOND
    log.clock.pass_by(1)
    log.observe(storm)
    assert len(log.lines) == MOST_A_SECOND + 1
    log.clock.pass_by(LEFT_OUT_SECONDS)
    told = log.lines[-1]
    assert (told["message"], told["level"]) == ("lines about requests were left out", "warning")
    counts = {name: value for name, value in told.items() if name.startswith("left_out_")}
    assert counts.pop(f"left_out_{cause}") == 500 - MOST_A_SECOND
    assert set(counts.values()) == {0}
    log.clock.pass_by(3600)
    assert log.lines[-1] == told, "it is told once"


def test_one_kind_of_trouble_does_not_hide_another(caplog: pytest.LogCaptureFixture) -> None:
    log = Kept(caplog)
    for _ in range(100):
        log.observe(request_record(outcome="degraded"))
    log.observe(request_record(outcome="error", status=500))
    assert log.lines[-1]["status"] == 500


def test_a_client_that_always_sends_the_same_trace_cannot_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = Kept(caplog, share=0.01, most_sampled=30)
    for _ in range(100):
        log.observe(request_record(trace_id=f"{1:032x}"))
    assert len(log.lines) == 30
    log.flush()
    assert log.lines[-1]["left_out_sampled"] == 70


def refused(i: int = 0, **changes: Any) -> Any:
    facts = {"request_id": f"r-{i}", "outcome": "invalid", "status": 422, "reason": "invalid-request", "choice": None}
    return request_record(**{**facts, **changes})


def test_refusals_have_one_line_a_minute_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    log = Kept(caplog)
    for i in range(50):
        log.observe(refused(i))
    (first,) = log.lines
    assert first == {
        "message": "requests refused",
        "level": "info",
        "peer": "10.0.0.7",
        "key": "none",
        "reason": "invalid-request",
        "status": 422,
        "refused": 1,
        "request_id": "r-0",
    }
    log.clock.pass_by(60)
    assert [(line["refused"], line["request_id"]) for line in log.lines] == [(1, "r-0"), (49, "r-49")]
    log.clock.pass_by(3600)
    assert len(log.lines) == 2, "nothing came"
    log.observe(refused(51))
    assert log.lines[-1]["refused"] == 1


@pytest.mark.parametrize(
    ("status", "level"), [(401, "warning"), (429, "warning"), (503, "warning"), (422, "info"), (413, "info")]
)
def test_a_refusal_warns_unless_the_request_was_wrong(
    caplog: pytest.LogCaptureFixture, status: int, level: str
) -> None:
    log = Kept(caplog)
    log.observe(refused(status=status, outcome="rejected" if status == 503 else "invalid"))
    assert [line["level"] for line in log.lines] == [level]


def test_a_sampled_refusal_has_a_line_of_its_own_as_well(caplog: pytest.LogCaptureFixture) -> None:
    log = Kept(caplog, share=1)
    log.observe(refused(1))
    log.observe(refused(2))
    assert [line["message"] for line in log.lines] == ["requests refused", "request", "request"]
    assert log.lines[-1]["reason"] == "invalid-request"


def test_what_has_been_counted_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    log = Kept(caplog)
    for i in range(5):
        log.observe(refused(i))
        log.refusals.add("10.0.0.8", "none", "shed", 503, f"s-{i}", None)
    log.flush()
    assert [(line["peer"], line["refused"]) for line in log.lines[2:]] == [("10.0.0.7", 4), ("10.0.0.8", 4)]
    log.flush()
    assert len(log.lines) == 4


def test_a_batch_has_a_line_with_counts_and_a_refused_one_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    log = Kept(caplog)
    log.observe_batch(request_record(request_id="b-1", seconds=0.5), {"ok": 3, "degraded": 1})
    log.observe_batch(request_record(outcome="invalid", status=400, reason="malformed-json"), {})
    whole, first = log.lines
    assert (whole["message"], whole["requests"], whole["duration_ms"]) == ("batch", 4, 500.0)
    assert (whole["requests_ok"], whole["requests_degraded"], whole["requests_rejected"]) == (3, 1, 0)
    assert (first["message"], first["reason"]) == ("requests refused", "malformed-json")


def test_nothing_is_made_below_the_level_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = Kept(caplog, share=1)
    caplog.set_level(logging.WARNING, "service.requests")
    log.observe(request_record())
    log.observe(refused())
    log.observe_batch(request_record(), {"ok": 1})
    log.observe(request_record(outcome="error", status=500))
    assert [line["status"] for line in log.lines] == [500]
