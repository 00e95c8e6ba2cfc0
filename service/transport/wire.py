"""Write responses without an app."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
