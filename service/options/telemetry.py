"""Say what the service tells about itself."""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from service.options.values import Milliseconds, Share

LogLevel = Literal["debug", "info", "warning", "error"]

TRACES_PATH: Final = "/v1/traces"
"""Where OTLP over HTTP takes spans, behind the address of the collector."""


class TelemetryOptions(BaseModel):
    """Log lines and traces."""

    log_level: LogLevel = Field("info", description="Least severe level of log lines (to stderr).")
    log_json: bool = Field(True, description="One JSON object per log line; false: plain text.")
    log_requests: Share = Field(
        0.01, description="Share of the requests that have a log line each, drawn by their trace ids."
    )
    log_slow_ms: Milliseconds | None = Field(
        None,
        description="A request that took longer, in milliseconds, has a log line in any case, as has one that was "
        "degraded or failed. Missing: the budget. For the requests of batches it is the batch budget.",
    )
    otlp_endpoint: str | None = Field(
        None,
        description="Collector of traces, such as `http://localhost:4318`: OTLP over HTTP, sent to `/v1/traces` under "
        "this address. Needs the extra `otel`. None: no traces.",
    )
    trace_share: Share = Field(
        0.01,
        description="Share of the requests without `traceparent` that begin a trace. Of the others, those are traced "
        "whose `traceparent` says that it is sampled.",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        """Return the URL without a slash at its end. Raises `ValueError` if it cannot work."""
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be a URL that begins with http:// or https://, such as http://localhost:4318")
        if parts.port == 0:
            raise ValueError("port 0 cannot be reached")
        if "@" in parts.netloc:
            raise ValueError(
                "holds a user or a password that others could read; OTEL_EXPORTER_OTLP_HEADERS is for those"
            )
        if parts.query or parts.fragment or parts.path.rstrip("/").endswith(TRACES_PATH):
            raise ValueError(f"must be the address of the collector only; {TRACES_PATH} is added to it")
        return value.rstrip("/")
