"""Every record is one line that no text of a client can break, fake or make unreadable."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.telemetry.logs import JsonFormatter, PlainFormatter

FORGED = "2026-01-01 00:00:00,000 ERROR service.server: all is lost"
NASTY = [
    *("\n", "\r", "\r\n", "\x1b[31m", "\x00", "\x7f", "\x85", "\x9b"),
    *("\u2028", "\u2029", "\u202e", "\ud800", "\U000e0001"),
]
any_text = st.text(st.characters(exclude_categories=()))


def record(message: str, *arguments: object, error: Exception | None = None, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("service.x", logging.ERROR, "x", 1, message, arguments, None)
    if error is not None:
        made.exc_info = (type(error), error, error.__traceback__)
    made.__dict__.update(extra)
    return made


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_a_request_id_cannot_break_a_plain_line(nasty: str) -> None:
    line = PlainFormatter().format(record("request %s failed", f"r{nasty}{FORGED}"))
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert line.endswith(f"{FORGED} failed")


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_nor_a_line_of_json(nasty: str) -> None:
    line = JsonFormatter().format(record("request %s failed", f"r{nasty}", request_id=f"r{nasty}"))
    assert line.isprintable()
    assert json.loads(line)["request_id"] == f"r{nasty}"
    assert json.loads(line)["message"] == f"request r{nasty} failed"


@given(any_text)
def test_any_text_makes_one_line_that_can_be_written(text: str) -> None:
    for formatter in (PlainFormatter(), JsonFormatter()):
        line = formatter.format(record("%s", text))
        line.encode()
        assert line.isprintable()
    assert list(json.loads(line)) == ["time", "level", "logger", "message"]


def test_printable_text_stays_as_it_is() -> None:
    text = "naïve 名前 — 🛒 \\ %"
    assert PlainFormatter().format(record("%s", text)).endswith(text)
    assert text.replace("\\", "\\\\") in JsonFormatter().format(record("%s", text))


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_the_message_of_an_exception_cannot_fake_a_line(nasty: str) -> None:
    error = raised(ValueError(f'odd{nasty}{FORGED}{nasty}  File "x", line 1, in f'))
    first, *rest = PlainFormatter().format(record("request failed", error=error)).split("\n")
    assert first.endswith("ERROR service.x: request failed")
    assert all(line.startswith("  | ") and line.isprintable() for line in rest)
    assert [line for line in rest if FORGED in line] == rest[-1:]


def test_a_traceback_keeps_its_frames_on_lines_of_their_own() -> None:
    try:
        try:
            raise KeyError("first\ncause")
        except KeyError as cause:
            raise RuntimeError("second") from cause
    except RuntimeError as error:
        lines = PlainFormatter().format(record("failed", error=error)).split("\n")
    text = [line.removeprefix("  | ") for line in lines]
    assert text.count("Traceback (most recent call last):") == 2
    assert '    raise KeyError("first\\ncause")' in text
    assert "KeyError: 'first\\ncause'" in text
    assert text[-1] == "RuntimeError: second"


def test_a_group_of_exceptions_cannot_fake_a_line_either() -> None:
    error = raised(ExceptionGroup("many", [raised(ValueError(f"a\n{FORGED}")), ValueError(f"b\n{FORGED}")]))
    _, *rest = PlainFormatter().format(record("failed", error=error)).split("\n")
    assert all(line.startswith("  | ") for line in rest)
    assert sum(FORGED in line for line in rest) == 2


def test_an_exception_is_one_string_of_a_line_of_json() -> None:
    line = JsonFormatter().format(record("request %s failed", "r-1", error=raised(RuntimeError("two\nlines"))))
    assert line.isprintable()
    assert "two\nlines" in json.loads(line)["exception"]


def test_a_call_outside_a_handler_has_no_traceback() -> None:
    made = logging.LogRecord("x", logging.ERROR, "x", 1, "m", (), sys.exc_info())
    assert PlainFormatter().format(made).count("\n") == 0
