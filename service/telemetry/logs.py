"""Make one line, of JSON or plain text, from each log record.

There is no access log; faults are logged, once. Text of a client can be in any message. So what is not printable is
escaped, and no text can look like a line of its own or steer a terminal.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Final

from service.telemetry.records import RequestObserver, RequestRecord
from service.telemetry.stderr import StderrHandler, open_missing_streams

_EXTRAS: Final = ("request_id", "trace_id", "status", "reason", "milliseconds")
_log = logging.getLogger("service.requests")


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: record.__dict__[key] for key in _EXTRAS if record.__dict__.get(key) is not None})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # Only strings can hold such characters, so each becomes an escape of JSON. Half a surrogate pair is one too.
        return _escape(json.dumps(line, ensure_ascii=False), lambda c: json.dumps(c)[1:-1])


class PlainFormatter(logging.Formatter):
    """Format a record as one line of text, and its exception as indented lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()}"
        error = record.exc_info[1] if record.exc_info else None
        lines = [line] if error is None else [line, *(f"  | {part}" for part in _traceback_lines(error))]
        return "\n".join(_escape(line, _backslash) for line in lines)


def _traceback_lines(error: BaseException) -> Iterator[str]:
    """Yield a traceback's lines, of which the message of an exception is one."""
    for part in traceback.TracebackException.from_exception(error).format():
        text = part.rstrip("\n")
        is_frame = text.lstrip(" |").startswith('File "')
        yield from text.split("\n") if is_frame else [text]


def _escape(text: str, escape: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else escape(c) for c in text)


def _backslash(character: str) -> str:
    return character.encode("unicode_escape").decode()


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send all loggers, and warnings of libraries, to stderr."""
    open_missing_streams()
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.root.level))


def request_loggers() -> tuple[RequestObserver, ...]:
    """Return what logs requests, as the level is now.

    No record has to be made for a logger that is silent.
    """
    return (log_refusal,) if _log.isEnabledFor(logging.DEBUG) else ()


def log_refusal(record: RequestRecord) -> None:
    """Log a request without a list, at level debug."""
    if record.reason is not None and _log.isEnabledFor(logging.DEBUG):
        extra = {key: getattr(record, key) for key in ("request_id", "trace_id", "status", "reason")}
        extra["milliseconds"] = round(record.seconds * 1e3, 3)
        _log.debug("request %s was refused: %s", record.request_id, record.reason, extra=extra)
