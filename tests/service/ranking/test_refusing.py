"""Refusals by the headers: the same answer and the same counts as any other 503, made with less."""

from __future__ import annotations

import json
import time
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.serving import RERANK_PATH
from service.access.key import NO_KEY
from service.contract.problems import MEDIA_TYPE
from service.ranking.refusing import HeadRefusals, no_place
from service.telemetry.metrics import Metrics
from service.telemetry.records import RequestRecord
from service.timing.admission import RefusalReason
from service.transport.asgi import ARRIVAL_KEY, is_header_safe, new_id
from service.transport.gate import Refusal

REASONS: tuple[RefusalReason, ...] = get_args(RefusalReason)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def scope(*headers: tuple[str, str]) -> dict[str, Any]:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    facts = {"path": RERANK_PATH, "headers": fields, "client": ("10.0.0.7", 40_000)}
    return {"type": "http", **facts, ARRIVAL_KEY: time.perf_counter()}


def refuse(reason: RefusalReason, *headers: tuple[str, str], **observing: Any) -> tuple[dict[str, str], Any]:
    """The fields and the document of a refusal; both are checked to be what any 503 of this reason has."""
    refusal: Refusal = HeadRefusals(
        retry_after_seconds=7, count=observing.pop("count", count_nothing), **observing
    ).refuse(reason, scope(*headers))
    head, body = refusal
    line, *lines = head.decode("latin-1").removesuffix("\r\n").split("\r\n")
    assert line == "HTTP/1.1 503 Service Unavailable"
    fields = dict(field.split(": ", 1) for field in lines)
    assert fields["content-type"] == MEDIA_TYPE
    assert fields["retry-after"] == "7"
    document = json.loads(body)
    expected = no_place(reason, 7).document(fields["x-request-id"])
    assert document == {name: getattr(expected, name) for name in expected.__struct_fields__}
    return fields, document


def count_nothing(_reason: str, _seconds: float, _key: str = NO_KEY) -> None:
    pass


@pytest.mark.parametrize("reason", REASONS)
def test_it_is_the_problem_that_any_503_of_its_reason_has(reason: RefusalReason) -> None:
    fields, document = refuse(reason)
    assert document["type"].endswith(reason)
    assert "traceparent" not in fields
    assert len(fields["x-request-id"]) == 16


@given(st.text(min_size=1, max_size=40))
def test_an_id_that_is_safe_is_echoed_whatever_json_makes_of_it_and_another_one_is_replaced(text: str) -> None:
    asked = text.encode("utf-8", "replace").decode("latin-1")
    fields, document = refuse("shed", ("x-request-id", asked))
    assert document["request_id"] == fields["x-request-id"]
    assert (fields["x-request-id"] == asked) == is_header_safe(asked)


def test_quotes_and_backslashes_in_an_id_do_not_break_the_document() -> None:
    assert refuse("shed", ("x-request-id", 'a"b\\c'))[1]["request_id"] == 'a"b\\c'


def test_the_trace_goes_on_with_a_span_of_its_own() -> None:
    fields, _ = refuse("shed", ("traceparent", TRACE))
    _, trace, span, flags = fields["traceparent"].split("-")
    assert (trace, flags) == ("4bf92f3577b34da6a3ce929d0e0e4736", "01")
    assert span != "00f067aa0ba902b7"
    assert "traceparent" not in refuse("shed", ("traceparent", "nonsense"))[0]


def test_each_is_counted_and_a_record_is_made_only_for_those_who_look() -> None:
    counted: list[tuple[str, float, str]] = []
    records: list[RequestRecord] = []
    headers = ("x-request-id", "r-7"), ("traceparent", TRACE)
    refuse(
        "shed",
        *headers,
        count=lambda *told: counted.append(told),
        observers=[records.append],
    )
    ((reason, seconds, key),) = counted
    assert (reason, key) == ("shed", NO_KEY)
    assert 0 <= seconds < 60
    (record,) = records
    assert (record.request_id, record.trace_id) == ("r-7", "4bf92f3577b34da6a3ce929d0e0e4736")
    assert (record.outcome, record.status, record.reason, record.seconds) == ("rejected", 503, "shed", seconds)


def test_ids_are_new_each_time_and_safe() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(len(found) == 16 and is_header_safe(found) for found in ids)


@pytest.mark.parametrize("refusals", [1, 15, 16, 17, 100])
def test_all_are_counted_whenever_somebody_looks(refusals: int) -> None:
    metrics = Metrics(budget_seconds=0.019)
    for _ in range(refusals):
        metrics.refused("shed", 0.0002)
    assert metrics.windows()[0].valid == refusals
    metrics.refused("overloaded", 0.0002)
    metrics.refresh()
    value = metrics.registry.get_sample_value
    assert value("rerank_rejected_total", {"reason": "shed"}) == refusals
    assert value("rerank_rejected_total", {"reason": "overloaded"}) == 1
    labels = {"model": "none", "version": "none", "outcome": "rejected"}
    assert value("rerank_request_duration_seconds_count", labels) == refusals + 1
    assert value("rerank_request_duration_seconds_sum", labels) == pytest.approx((refusals + 1) * 0.0002)
    assert value("rerank_scene_requests_total", {"scene": "none", "outcome": "rejected"}) == refusals + 1
    assert value("rerank_stage_duration_seconds_count", {"stage": "lag"}) == refusals + 1


def test_a_refusal_that_waits_to_be_counted_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(budget_seconds=0.019)
    metrics.refused("shed", 0.0002)
    later = time.monotonic() + 61
    monkeypatch.setattr("service.telemetry.rolling.monotonic", lambda: later)
    assert metrics.windows()[0].valid == 0, "it was more than a minute ago"


def test_the_log_is_told_the_address_and_what_the_headers_say() -> None:
    logged: list[tuple[object, ...]] = []
    headers = ("x-request-id", "r-7"), ("traceparent", TRACE)
    refuse("shed", *headers, log=lambda *told: logged.append(told))
    refuse("overloaded", log=lambda *told: logged.append(told))
    assert logged[0] == ("10.0.0.7", "none", "shed", 503, "r-7", "4bf92f3577b34da6a3ce929d0e0e4736")
    assert logged[1][:4] == ("10.0.0.7", "none", "overloaded", 503)
    assert logged[1][5] is None
