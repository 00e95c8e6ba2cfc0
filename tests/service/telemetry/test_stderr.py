"""Where stderr is full, stuck or closed, lines are lost and counted, and nothing else happens."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.telemetry.logs import JsonFormatter
from service.telemetry.stderr import StderrHandler
from tests.service.requests import request
from tests.service.telemetry.process import Service, serving, wait_for

PIPE_BYTES = 16384


class Pipe:
    """A pipe that holds little, and a handler that writes to it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self.reader, False)
        self.handler = StderrHandler(self.writer)
        self.handler.setFormatter(JsonFormatter())

    def log(self, message: str) -> None:
        self.handler.handle(logging.LogRecord("x", logging.INFO, "x", 1, message, (), None))

    def messages(self) -> list[str]:
        """Every whole line that can be read; an unfinished one as it is."""
        data = b""
        while True:
            try:
                data += os.read(self.reader, 65536)
            except BlockingIOError:
                break
        return [json.loads(line)["message"] if line.endswith("}") else line for line in data.decode().splitlines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for descriptor in (made.reader, made.writer):
        try:
            os.close(descriptor)
        except OSError:
            continue


def fill(pipe: Pipe) -> int:
    """Log until lines are lost; the number that have been taken."""
    taken = 0
    while not pipe.handler._lost:
        pipe.log(f"{taken} " + "x" * 500)
        taken += 1
    return taken - 1


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads_loses_lines_and_then_says_how_many(pipe: Pipe, blocking: bool) -> None:
    os.set_blocking(pipe.writer, blocking)
    taken = fill(pipe)
    for _ in range(99):
        pipe.log("lost")
    messages = pipe.messages()
    assert [message.split()[0] for message in messages[:taken]] == [str(i) for i in range(taken)]
    pipe.log("after")
    pipe.log("and on")
    after = pipe.messages()
    assert [m for m in after if m.startswith("100 lines of the log were lost: ")] == after[-3:-2]
    assert after[-2:] == ["after", "and on"]


def test_a_line_longer_than_the_pipe_is_cut_and_the_next_begins_on_a_line_of_its_own(pipe: Pipe) -> None:
    pipe.log("x" * 3 * PIPE_BYTES)
    (cut,) = pipe.messages()
    assert cut.startswith("{")
    pipe.log("after")
    assert pipe.messages()[-2:] == ["1 lines of the log were lost: nobody reads it", "after"]


def test_a_reader_that_has_gone_and_a_closed_descriptor_raise_nothing(pipe: Pipe) -> None:
    os.close(pipe.reader)
    pipe.log("nobody")
    os.close(pipe.writer)
    pipe.log("nowhere")
    assert pipe.handler._lost == 2


def test_a_disk_that_is_full_raises_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        handler = StderrHandler(full.fileno())
        handler.setFormatter(JsonFormatter())
        for _ in range(3):
            handler.handle(logging.LogRecord("x", logging.INFO, "x", 1, "m", (), None))
        assert (handler._lost, handler._why) == (3, "No space left on device")


def test_a_fault_in_a_call_of_the_logger_is_logged_and_not_raised(pipe: Pipe) -> None:
    pipe.handler.handle(logging.LogRecord("x", logging.INFO, "place.py", 7, "%d apples", ("no",), None))
    pipe.log("after")
    fault, after = pipe.messages()
    assert fault.startswith("a line of the log could not be made at place:7: TypeError(")
    assert after == "after"


def refuse_many(service: Service) -> None:
    """Have more lines logged than the pipe holds, then a list made."""
    service.wait_until_ready()
    for i in range(100):
        refused = request(1, model="nope", request_id=f"{i} ".ljust(128, "é"))
        assert service.ask("/v1/rerank", refused)[0] == 422
    assert service.ask("/v1/rerank", request())[0] == 200


FLAGS = ("--log-requests", "1", "--budget-ms", "30000")


def test_a_service_whose_stderr_is_closed_serves_and_stops_cleanly(bundle: Path) -> None:
    with serving(bundle.parents[1], *FLAGS, closed=True) as service:
        refuse_many(service)
        stderr = Path(f"/proc/{service.popen.pid}/fd/2").readlink()
        assert stderr == Path(os.devnull), "no socket has its number"
        assert service.stop()[0] == 0


def test_a_service_whose_stderr_is_full_serves_and_stops_cleanly(bundle: Path) -> None:
    with Path("/dev/full").open("wb") as full, serving(bundle.parents[1], *FLAGS, stderr=full) as service:
        refuse_many(service)
        assert service.stop()[0] == 0


@pytest.mark.long
def test_a_service_whose_log_is_no_longer_read_serves_and_stops_cleanly(bundle: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with serving(bundle.parents[1], *FLAGS, stderr=writer) as service:
        os.close(writer)
        refuse_many(service)
        assert service.stop()[0] == 0
    os.close(reader)


@pytest.mark.long
def test_a_newline_in_a_request_id_forges_no_line(bundle: Path) -> None:
    forged = "2026-01-01 00:00:00,000 CRITICAL service.server: all is lost"
    with serving(bundle.parents[1], "--log-requests", "1", "--log-json", "false") as service:
        service.wait_until_ready()
        sent = request(1, model="nope", request_id=f"r-1\n{forged}\x1b[2J\u2028{forged}"[:128])
        assert service.ask("/v1/rerank", sent)[0] == 422
        wait_for(lambda: "reason=invalid-request" in service.log.read_text("utf-8"))
        _, lines = service.stop()
    assert [line for line in lines if line.startswith(forged[:20])] == []
    found = [line for line in lines if "reason=invalid-request" in line]
    assert len(found) == 2
    for line in found:  # One of the first of its kind, and one of the sample.
        assert "INFO service.requests: request" in line
        assert f'request_id="r-1\\n{forged}\\u001b[2J\\u2028' in line
