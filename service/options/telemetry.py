"""Say what the service tells about itself."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

LogLevel = Literal["debug", "info", "warning", "error"]


class TelemetryOptions(BaseModel):
    """Log lines."""

    log_level: LogLevel = Field("info", description="Least severe level of log lines (to stderr).")
    log_json: bool = Field(True, description="One JSON object per log line; false: plain text.")
