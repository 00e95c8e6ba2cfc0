"""Write log lines to stderr, as JSON objects or plain text.

There is no access log; faults are logged, once.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final

from service.telemetry.records import RequestRecord

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
        return json.dumps(line, ensure_ascii=False)


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send all loggers to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if as_json else plain)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.root.level))


def log_refusal(record: RequestRecord) -> None:
    """Log a request without a list, at level debug."""
    if record.reason is not None and _log.isEnabledFor(logging.DEBUG):
        extra = {key: getattr(record, key) for key in ("request_id", "trace_id", "status", "reason")}
        extra["milliseconds"] = round(record.seconds * 1e3, 3)
        _log.debug("request %s was refused: %s", record.request_id, record.reason, extra=extra)
