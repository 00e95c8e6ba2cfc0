"""Small parts on their own: trace context, log lines, the inference thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import threading

import numpy as np
import pytest

from service.engine import Batch, EngineError, InferenceThread
from service.logs import JsonFormatter
from service.tracing import parse_traceparent
from tests.service.live import FakeEngine
from tests.service.tiny_bundle import Arrays

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("header", [GOOD, GOOD.replace("00-", "01-", 1), GOOD.replace("00-", "cc-", 1) + "-future"])
def test_a_traceparent_of_this_or_a_later_version_is_read(header: str) -> None:
    trace = parse_traceparent(header)
    assert trace is not None
    assert trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace.flags == "01"
    assert trace.header.startswith(f"00-{trace.trace_id}-")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        GOOD.upper(),
        GOOD + "-more",
        GOOD.replace("00-", "ff-", 1),
        GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        GOOD.replace("00f067aa0ba902b7", "0" * 16),
        GOOD[:-1],
        GOOD + "\n",
    ],
)
def test_a_traceparent_that_the_standard_calls_invalid_is_ignored(header: str | None) -> None:
    assert parse_traceparent(header) is None


def test_a_log_line_is_one_json_object_with_its_request() -> None:
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        record = logging.LogRecord("service", logging.ERROR, "x", 1, "request %s failed", ("r-1",), sys.exc_info())
    record.request_id = "r-1"
    line = JsonFormatter().format(record)
    assert "\n" not in line
    parsed = json.loads(line)
    assert (parsed["level"], parsed["message"], parsed["request_id"]) == ("error", "request r-1 failed", "r-1")
    assert "two\nlines" in parsed["exception"]


class Recorder:
    """Notes on which thread it ran, and in which order."""

    provider = "cpu"

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.order: list[int] = []

    def run(self, batch: Batch) -> Arrays:
        self.threads.add(threading.get_ident())
        self.order.append(int(np.asarray(batch["x"])[0]))
        return {"y": np.asarray(batch["x"])}


def test_all_work_runs_on_one_thread_in_the_order_of_arrival() -> None:
    engine = Recorder()

    async def ask() -> list[int]:
        with contextlib.closing(InferenceThread()) as thread:
            results = await asyncio.gather(*(thread.submit(engine, {"x": np.array([i])}) for i in range(50)))
        return [int(result.outputs["y"][0]) for result in results]

    assert asyncio.run(ask()) == engine.order == list(range(50))
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads


def test_a_failing_run_is_an_engine_error_with_its_cause_and_the_thread_goes_on() -> None:
    engine = FakeEngine()
    engine.error = MemoryError("arena")

    async def ask() -> None:
        with contextlib.closing(InferenceThread()) as thread:
            with pytest.raises(EngineError, match="arena") as caught:
                await thread.submit(engine, {"valid": np.ones((1, 3), bool)})
            assert isinstance(caught.value.__cause__, MemoryError)
            engine.error = None
            assert (await thread.submit(engine, {"valid": np.ones((1, 3), bool)})).infer_seconds >= 0

    asyncio.run(ask())


def test_a_request_that_is_cancelled_while_it_waits_does_not_stop_the_thread() -> None:
    engine = FakeEngine()
    engine.hold.clear()

    async def ask() -> None:
        with contextlib.closing(InferenceThread()) as thread:
            task = asyncio.create_task(thread.submit(engine, {"valid": np.ones((1, 3), bool)}))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            engine.hold.set()
            await thread.submit(engine, {"valid": np.ones((1, 3), bool)})

    asyncio.run(ask())
