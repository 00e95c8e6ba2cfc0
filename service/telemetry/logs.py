"""Make one line, of JSON or plain text, from each log record.

A record may have `fields`, by name: members of the JSON object, or `name=value` behind a text (logfmt). Text of a
client can be in any message and field. So what is not printable is escaped, and no text can look like a line of its
own, like another field, or steer a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from service.telemetry.stderr import StderrHandler, open_missing_streams

_EXTRAS: Final = ("request_id", "trace_id")
_encode: Final = msgspec.json.Encoder().encode
_BARE: Final = re.compile(r"[\w.:/+@-]+", re.ASCII)


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
        line.update(record.__dict__.get("fields", ()))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # Only strings can hold such characters, so each becomes an escape of JSON. Half a surrogate pair is one too.
        return _escape(_to_json(line), lambda c: json.dumps(c)[1:-1])


def _to_json(line: dict[str, object]) -> str:
    try:
        return _encode(line).decode()
    except UnicodeEncodeError:  # Half a surrogate pair.
        return json.dumps(line, ensure_ascii=False)


class PlainFormatter(logging.Formatter):
    """Format a record as one line of text, and its exception as indented lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()}"
        if fields := record.__dict__.get("fields"):
            line += "".join(f" {name}={_logfmt(value)}" for name, value in fields.items())
        error = record.exc_info[1] if record.exc_info else None
        lines = [line] if error is None else [line, *(f"  | {part}" for part in _traceback_lines(error))]
        return "\n".join(_escape(line, _backslash) for line in lines)


def _traceback_lines(error: BaseException) -> Iterator[str]:
    """Yield a traceback's lines, of which the message of an exception is one."""
    for part in traceback.TracebackException.from_exception(error).format():
        text = part.rstrip("\n")
        is_frame = text.lstrip(" |").startswith('File "')
        yield from text.split("\n") if is_frame else [text]


def _logfmt(value: object) -> str:
    """Return a value as one plain word, else as a string of JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _escape(text: str, escape: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else escape(c) for c in text)


def _backslash(character: str) -> str:
    return character.encode("unicode_escape").decode()


def log_fields(logger: logging.Logger, level: int, message: str, fields: Mapping[str, object]) -> None:
    """Log a line with fields, without looking for its caller.

    That would take as long as making the line does.
    """
    if logger.isEnabledFor(level):
        record = logging.LogRecord(logger.name, level, __file__, 0, message, None, None)
        record.__dict__["fields"] = fields
        logger.handle(record)


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send all loggers, and warnings of libraries, to stderr."""
    open_missing_streams()
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.root.level))
