"""Read and write W3C Trace Context (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """The caller's trace and a span of our own in it."""

    trace_id: str
    span_id: str
    flags: str

    @property
    def header(self) -> str:
        """Value of `traceparent` for the response."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def parse_traceparent(header: str | None) -> Trace | None:
    """Read the trace, with a new span; None if the standard ignores the header."""
    found = _TRACEPARENT.fullmatch(header) if header else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return Trace(trace_id, secrets.token_hex(8), flags)
