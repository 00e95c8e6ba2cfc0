"""A clock and timers that a test moves, and the fields of lines about requests."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from service.telemetry.records import RequestRecord


@dataclass
class _Timer:
    at: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Clock:
    """Seconds that pass when told to; what was to be called by then is."""

    now: float = 100.0
    timers: list[_Timer] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, call: Callable[[], None]) -> _Timer:
        self.timers.append(made := _Timer(self.now + seconds, call))
        return made

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= end]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            if not first.cancelled:
                first.call()
        self.now = end


def request_record(**changes: Any) -> RequestRecord:
    """The record of a list that the model made in 1 ms."""
    facts: dict[str, Any] = {
        "request_id": "r-1",
        "trace_id": None,
        "outcome": "ok",
        "status": 200,
        "seconds": 0.001,
        "reason": None,
        "model": "tiny",
        "version": "1",
        "stages": {"lag": 0.0001, "decode": 0.0002},
        "candidates": 8,
        "batch_size": 1,
        "health": None,
        "choice": "plan",
        "peer": "10.0.0.7",
    }
    return RequestRecord(**{**facts, **changes})


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The message, the level and the fields of a line."""
    return {"message": record.getMessage(), "level": record.levelname.lower(), **record.__dict__["fields"]}
