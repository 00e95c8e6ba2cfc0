"""Small parts on their own: trace context and log lines."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from service.telemetry.logs import JsonFormatter
from service.transport.asgi import parse_traceparent

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
