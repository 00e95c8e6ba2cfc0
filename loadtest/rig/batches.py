"""Read from a service's metrics how many requests shared a run of the engine."""

from __future__ import annotations

import math
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

_NAME: Final = "rerank_batch_size"
_BUCKET: Final = re.compile(rf'^{_NAME}_bucket{{.*?le="([^"]+)".*?}} (\S+)', re.MULTILINE)
_SUM: Final = re.compile(rf"^{_NAME}_sum(?:{{.*}})? (\S+)", re.MULTILINE)
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Batches:
    """Count requests by the size of their run: up to each bound, over the last."""

    requests: Mapping[float, int]
    total: float

    @classmethod
    def of(cls, exposition: str) -> Self:
        """Read a text of metrics."""
        reached: dict[float, float] = {}
        for bound, value in _BUCKET.findall(exposition):
            reached[float(bound)] = reached.get(float(bound), 0.0) + float(value)
        counts, below = dict[float, int](), 0.0
        for bound in sorted(reached):
            counts[bound], below = round(reached[bound] - below), reached[bound]
        return cls(counts, sum(float(value) for value in _SUM.findall(exposition)))

    @classmethod
    def read(cls, url: str) -> Self:
        """Ask the service at `url`. Raises `OSError`."""
        with _DIRECT.open(f"{url}/metrics", timeout=_SECONDS) as answer:
            return cls.of(answer.read().decode())

    def __sub__(self, before: Batches) -> Batches:
        """Return what has come since `before`."""
        counts = {bound: n - before.requests.get(bound, 0) for bound, n in self.requests.items()}
        return Batches(counts, self.total - before.total)

    def __add__(self, other: Batches) -> Batches:
        bounds = sorted({*self.requests, *other.requests})
        counts = {bound: self.requests.get(bound, 0) + other.requests.get(bound, 0) for bound in bounds}
        return Batches(counts, self.total + other.total)

    @property
    def mean(self) -> float:
        """Return the mean size of a request's run; 0 without requests."""
        return self.total / max(sum(self.requests.values()), 1)

    def __str__(self) -> str:
        """Return the share of requests by size, as in ``1: 20%, ≤4: 80%``."""
        whole, below, shown = sum(self.requests.values()), 0.0, []
        for bound, count in self.requests.items():
            if count:
                name = f">{below:g}" if math.isinf(bound) else f"{bound:g}" if bound - below == 1 else f"≤{bound:g}"
                shown.append(f"{name}: {count / whole:.0%}")
            below = bound
        return ", ".join(shown) or "none"

    def to_json(self) -> dict[str, int]:
        """Return the counts by their upper bounds."""
        return {f"{bound:g}": count for bound, count in self.requests.items()}


NO_BATCHES: Final = Batches({}, 0.0)
