"""Faults of the service's own that end requests: each is logged, and the traceback of each place once a minute."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from models.contract.serving import BATCH_PATH
from service.ranking.faults import FaultLog
from service.ranking.rerank import Reranker
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import fake_model, live_app
from tests.service.requests import request


def fail(*_: Any) -> None:
    raise RuntimeError("a fault")


def test_a_fault_that_every_request_meets_has_one_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Reranker, "merge", fail)
    batch = json.dumps({"requests": [request()] * 3}).encode()
    with live_app(fake_model()) as live:
        ids = [f"r-{i}" for i in range(4)]
        for name in ids:
            assert_problem(live.post(request(), {"x-request-id": name}), 500, "internal-error")
        reply = live.request("POST", BATCH_PATH, batch, {"Content-Type": "application/json", "x-request-id": "b"})
        assert [result["status"] for result in reply.json["results"]] == [500] * 3
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    named = [*ids, *(f"b-{i}" for i in range(3))]
    assert [record.__dict__["request_id"] for record in logged] == named
    assert [record.__dict__["request_id"] for record in logged if record.exc_info] == ["r-0", "b-0"]
    assert "request r-1 failed, as others did: RuntimeError" in caplog.text


def test_another_fault_has_a_traceback_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    log = FaultLog()
    for place in ("one", "one", "another"):
        try:
            fail() if place == "one" else int("x")
        except (RuntimeError, ValueError) as error:
            log.add("request r", error, {})
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, True]
