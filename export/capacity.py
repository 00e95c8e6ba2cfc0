"""How long this host's engine takes for a batch: T(n) = a + b·n, fitted to timings in interleaved blocks.

It times the bundle's graph in this process, on whatever CPU the caller is pinned to, with requests made up for the
bundle. Knows nothing about services: what a service spends beside the engine is not in T. Needs ONNX Runtime and NumPy
only, so it also runs where models are served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from export.bench.timing import BlockClock, Run
from export.proof.requests import RequestShape, random_request, stack, with_preferences
from models.contract.features import Arrays
from models.contract.manifest import MODEL_FILE, Limits, Manifest
from models.contract.spec import OBJECTIVES
from models.planners.runtime import GraphPlanner


@dataclass(frozen=True, slots=True)
class BatchTime:
    """T(n) = `fixed` + `each`·n seconds, with the medians that it was fitted to."""

    fixed: float
    each: float
    measured: Mapping[int, float]

    def seconds(self, batch: int) -> float:
        """T(n)."""
        return self.fixed + self.each * batch

    def residuals(self) -> dict[int, float]:
        """Batch size to (measured − T) / measured."""
        return {batch: 1 - self.seconds(batch) / seconds for batch, seconds in self.measured.items()}

    @property
    def worst_residual(self) -> float:
        """The largest residual's size, as a share of the measured time."""
        return max(map(abs, self.residuals().values()))

    @property
    def r_squared(self) -> float:
        """Share of the variance over batch sizes that T explains; 1 where there is none."""
        measured = np.array(list(self.measured.values()))
        left = measured - [self.seconds(batch) for batch in self.measured]
        spread = float(((measured - measured.mean()) ** 2).sum())
        return 1 - float((left**2).sum()) / spread if spread else 1.0


def fit_batch_time(seconds: Mapping[int, Sequence[float]]) -> BatchTime:
    """Least squares through the medians over blocks, weighted so that relative errors count alike.

    `seconds` maps batch size to one time per block. Neither part of T is let below 0: a batch cannot cost less than
    nothing, and a line through the origin, or a flat one, is then the best fit. Raises `ValueError` for fewer than two
    batch sizes or a time that is not positive.
    """
    medians = {batch: float(np.median(times)) for batch, times in sorted(seconds.items())}
    if len(medians) < 2 or min(medians.values()) <= 0:
        raise ValueError(f"a line needs positive times of at least two batch sizes, not {medians}")
    sizes, times = np.array(list(medians), np.float64), np.array(list(medians.values()))
    # Divided by the measured time, each row's residual is a relative one.
    columns = np.stack([np.ones_like(sizes), sizes], axis=1) / times[:, None]
    fixed, each = np.linalg.lstsq(columns, np.ones_like(times))[0].tolist()
    if fixed < 0:
        fixed, each = 0.0, _one_term(columns[:, 1])
    elif each < 0:
        fixed, each = _one_term(columns[:, 0]), 0.0
    return BatchTime(fixed, each, medians)


def _one_term(column: np.ndarray) -> float:
    """The factor x with the least squares of column·x − 1."""
    return float(column.sum() / (column**2).sum())


def engine_clock(folder: Path, batches: Sequence[int], *, candidates: int, runs: int) -> BlockClock:
    """A clock over the bundle's graph at each batch size, by its size as text.

    Raises `ValueError` for a batch size below 1, `OSError` or `models.contract.spec.SpecError` for a broken bundle.
    """
    return BlockClock(engine_runs(folder, batches, candidates=candidates), runs=runs)


def engine_runs(folder: Path, batches: Sequence[int], *, candidates: int) -> dict[str, Run]:
    """What `engine_clock` times: batch size as text to one run of the bundle's graph."""
    if min(batches, default=0) < 1:
        raise ValueError(f"batch sizes: must be at least 1, not {list(batches)}")
    manifest = Manifest.read(folder)
    planner = GraphPlanner((folder / MODEL_FILE).read_bytes())
    return {str(n): _bind(planner, batch_of(manifest, n, candidates)) for n in batches}


def batch_of(manifest: Manifest, size: int, candidates: int) -> Arrays:
    """A batch of made-up requests with `candidates` each, of which as many are slots as the graph encodes."""
    limits = _limits(manifest, candidates)
    weights = [manifest.objectives[name] for name in OBJECTIVES]
    click, conversion, gmv = weights
    diversity = manifest.diversity
    rows = [random_request(manifest.spec, limits, seed, RequestShape(full=True)) for seed in range(size)]
    return stack([with_preferences(r, (click, conversion, gmv), diversity.trade_off, diversity.window) for r in rows])


def _limits(manifest: Manifest, candidates: int) -> Limits:
    if not manifest.any_slots:
        return manifest.limits
    return replace(manifest.limits, queues=1, queue_length=min(candidates, manifest.limits.slots))


def _bind(planner: GraphPlanner, feeds: Arrays) -> Run:
    return lambda: planner(feeds)
