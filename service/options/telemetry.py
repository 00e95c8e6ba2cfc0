"""Say what the service tells about itself."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from service.options.values import Milliseconds

LogLevel = Literal["debug", "info", "warning", "error"]


class TelemetryOptions(BaseModel):
    """Log lines."""

    log_level: LogLevel = Field("info", description="Least severe level of log lines (to stderr).")
    log_json: bool = Field(True, description="One JSON object per log line; false: plain text.")
    log_requests: float = Field(
        0.01, ge=0, le=1, description="Share of the requests that have a log line each, drawn by their trace ids."
    )
    log_slow_ms: Milliseconds | None = Field(
        None,
        description="A request that took longer, in milliseconds, has a log line in any case, as has one that was "
        "degraded or failed. Missing: the budget. For the requests of batches it is the batch budget.",
    )
