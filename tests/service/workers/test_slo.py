"""`/v1/slo` with several workers: all of them whoever is asked, and never a wait for one that hangs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from tests.service.requests import request
from tests.service.workers.test_workers import PATIENT, Service, eventually, serving, stopped

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("slo"), command=PATIENT) as found:
        yield found
        found.process.stop()


def test_every_worker_answers_for_all(service: Service) -> None:
    for sent, pid in zip((3, 4), service.workers(), strict=True):
        with service.on(pid) as connection:
            for _ in range(sent):
                assert connection.ask("/v1/rerank", request())[0] == 200
    for pid in service.workers():
        with service.on(pid) as connection:
            eventually(lambda: connection.ask("/v1/slo")[1]["requests"] == 7)
            status, slo = connection.ask("/v1/slo")
            assert (status, slo["workers"], slo["complete"]) == (200, 2, True)
            assert [w["requests"] for w in slo["windows"]] == [7, 7, 7]
            assert {o["good"] for w in slo["windows"] for o in w["objectives"]} == {7}
            assert 0 < slo["p99_seconds"] < 30


def test_a_worker_that_hangs_is_left_out_and_the_answer_says_so(service: Service) -> None:
    first, second = service.workers()
    with service.on(first) as connection, stopped(second):
        began = time.monotonic()
        status, slo = connection.ask("/v1/slo")
        assert (status, slo["workers"], slo["complete"]) == (200, 1, False)
        assert time.monotonic() - began < 15
    with service.on(first) as connection:
        eventually(lambda: connection.ask("/v1/slo")[1]["complete"])


def test_without_the_supervisor_a_worker_describes_itself(service: Service) -> None:
    (first, _), supervisor = service.workers(), service.process.popen.pid
    with service.on(first) as connection, stopped(supervisor):
        assert connection.ask("/v1/rerank", request())[0] == 200
        status, slo = connection.ask("/v1/slo")
        assert (status, slo["workers"], slo["complete"]) == (200, 1, False)
        assert slo["requests"] >= 1
    with service.on(first) as connection:
        eventually(lambda: connection.ask("/v1/slo")[1]["complete"])
