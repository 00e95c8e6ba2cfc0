"""State a demand, and refuse one that no plan can be made for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

from loadtest.scale import figures as f

MONTH: Final = 30 * 86_400.0
"""Seconds of a month."""
HOUR: Final = 3_600.0


class DemandError(ValueError):
    """A value that no plan can be made for; its message names the option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A demand, and what machines look like. Raises `DemandError`.

    `utilisation` holds while a zone is gone. `retraining_lists` are the lists of one retraining, by default those of a
    day; `mined_requests` likewise. `popularity` is the exponent of Zipf's law of items in requests.
    """

    requests_per_second: float = 1e6
    items: float = 1e8
    lists_per_month: float = 1e10
    utilisation: float = f.UTILISATION.value
    zones: int = 3
    cores_per_gpu: int = 16
    host_gbit: float = 25.0
    worker_hand_over_us: float = f.WORKER_HAND_OVER_US
    engine_hand_over_us: float = f.ENGINE_HAND_OVER_US
    live_fields: int = 2
    popularity: float = 1.0
    months_kept: float = 3.0
    retraining_lists: float | None = None
    mined_requests: float | None = None
    hours: float = 8.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and (problem := _problem(field.name, value)):
                raise DemandError(f"{option(field.name)}: must be {problem}, not {value:g}")

    @property
    def trained(self) -> float:
        """Lists of one retraining."""
        return self.lists_per_month / 30 if self.retraining_lists is None else self.retraining_lists

    @property
    def mined(self) -> float:
        """Requests that are mined for one retraining."""
        return self.trained if self.mined_requests is None else self.mined_requests


_LEAST: Final = {"zones": 2, "cores_per_gpu": 2, "requests_per_second": 1, "items": 1, "lists_per_month": 1}
_MAY_BE_ZERO: Final = ("worker_hand_over_us", "engine_hand_over_us", "live_fields", "popularity")


def _problem(name: str, value: float) -> str:
    """Return the bound that a value breaks; empty: none."""
    if not math.isfinite(value):
        return "finite"
    if name == "utilisation" and not 0 < value < 1:
        return "between 0 and 1"
    if name in _LEAST:
        return f"at least {_LEAST[name]}" if value < _LEAST[name] else ""
    if name in _MAY_BE_ZERO:
        return "0 or more" if value < 0 else ""
    return "above 0" if value <= 0 else ""


def option(name: str) -> str:
    """Return the option of the command line that sets a field."""
    return "--" + name.replace("_", "-")
