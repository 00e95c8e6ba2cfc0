"""The closed loop keeps its number in flight, and what a service costs is read off its threads."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import closing
from typing import Any

import pytest

from loadtest.cost.service_cost import Split, costed_block, on_cpus, thread_time
from loadtest.rig.client import post_message
from loadtest.rig.closed_loop import ClosedLoop
from tests.loadtest.stub import in_input_order, stub_service

REQUEST = json.dumps({"request_id": "r", "candidates": [{"id": "a"}], "top_n": 1}).encode()
MESSAGE = post_message("127.0.0.1", "/v1/rerank", REQUEST)


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_so_many_are_in_flight_and_all_are_answered() -> None:
    lock, flying, seen = threading.Lock(), 0, []

    def answer(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        nonlocal flying
        with lock:
            flying += 1
            seen.append(flying)
        time.sleep(0.02)
        with lock:
            flying -= 1
        return in_input_order(request)

    with stub_service(answer) as port, closing(ClosedLoop("127.0.0.1", port, concurrency=4)) as loop:
        block = loop.block([MESSAGE], 20)
    assert len(block.times_ms) == len(seen) == 20
    assert max(seen) == 4
    assert min(block.times_ms) >= 20
    assert block.rate == pytest.approx(20 / block.seconds)


def test_fewer_requests_than_connections_are_sent_once_each() -> None:
    with stub_service() as port, closing(ClosedLoop("127.0.0.1", port, concurrency=8)) as loop:
        assert len(loop.block([MESSAGE], 3).times_ms) == 3


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((503, {"title": "overloaded"}), "answered 503: .*overloaded"),
        ((200, {"items": [], "degraded": {"reason": "deadline"}}), "without its model"),
    ],
)
def test_an_answer_that_no_model_made_ends_the_measurement(answer: tuple[int, dict[str, Any]], problem: str) -> None:
    with (
        stub_service(lambda _: answer) as port,
        closing(ClosedLoop("127.0.0.1", port, concurrency=2)) as loop,
        pytest.raises(ValueError, match=problem),
    ):
        loop.block([MESSAGE], 4)


def test_concurrency_must_be_positive() -> None:
    with pytest.raises(ValueError, match="concurrency: must be at least 1, not 0"):
        ClosedLoop("127.0.0.1", 1, concurrency=0)


def test_time_is_told_apart_by_first_thread_and_others() -> None:
    done = threading.Event()

    def work() -> None:
        burn(0.2)
        done.wait()  # a thread that has ended is not counted any more

    worker = threading.Thread(target=work)
    before = thread_time(os.getpid())
    worker.start()
    time.sleep(0.01)
    burn(0.1)
    while (spent := thread_time(os.getpid()) - before).others < 0.2:
        time.sleep(0.01)
    done.set()
    worker.join()
    assert 0.1 <= spent.first < 0.2
    assert 0.2 <= spent.others < 0.3


def test_a_block_says_what_the_service_spent_per_request() -> None:
    def answer(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        burn(0.02)  # in a thread of its own: not the first
        return in_input_order(request)

    with stub_service(answer) as port, closing(ClosedLoop("127.0.0.1", port, concurrency=1)) as loop:
        block = costed_block(loop, os.getpid(), [MESSAGE], 10)
    assert 0.019 <= block.cpu.others < 0.04
    assert len(block.block.times_ms) == 10


def test_server_and_client_are_kept_apart_where_there_are_cpus_for_both() -> None:
    assert Split.of({3, 0, 1}, 1) == Split((0,), (1, 3))
    assert not Split.of({0, 1}, 1).shared
    assert Split.of({0, 1}, 2) == Split((0, 1), (0, 1))
    assert Split.of({5}, 1).shared
    for asked in (0, 3):
        with pytest.raises(ValueError, match="--cpus: must be 1 to 2"):
            Split.of({0, 1}, asked)


def test_a_thread_goes_back_to_its_cpus() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    with on_cpus(one):
        assert os.sched_getaffinity(0) == one
    assert os.sched_getaffinity(0) == before
