"""Turn a demand into the machines that answer requests, and what flows around them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtest.scale import figures as f
from loadtest.scale.demand import HOUR, Demand
from models.contract.arrays import Floats

MICRO: Final = 1e-6
GIGABIT: Final = 1e9 / 8
LARGEST_BATCH: Final = max(f.GPU_RUNS)
_BINS: Final = 4_000
_HALVINGS: Final = 40


@dataclass(frozen=True, slots=True)
class Run:
    """The time of one run of n lists in seconds: fixed + each · n."""

    fixed: float
    each: float

    def seconds(self, batch: int) -> float:
        return self.fixed + self.each * batch


def gpu_run(hand_over_us: float = 0.0) -> Run:
    """Fit a line through the measured runs.

    A hand-over comes on top for each list, as if nothing ran beside it.
    """
    batches = np.array(list(f.GPU_RUNS), float)
    each, fixed = np.polyfit(batches, [run.value for run in f.GPU_RUNS.values()], 1)
    return Run(float(fixed) * 1e-3, float(each) * 1e-3 + hand_over_us * MICRO)


def engine_rate(hand_over_us: float = 0.0) -> float:
    """Return the lists/s of one engine in full batches."""
    return LARGEST_BATCH / gpu_run(hand_over_us).seconds(LARGEST_BATCH)


def worker_seconds(hand_over_us: float = 0.0) -> float:
    """Return the CPU time that a request takes of the process which speaks HTTP."""
    return 1 / f.GPU_SERVICE.value + hand_over_us * MICRO


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts of one kind, and what one of them can do at most."""

    hosts: int
    each_zone: int
    host_rate: float

    def load(self, requests_per_second: float, hosts: int) -> float:
        """Return the share of their rate that so many hosts would be used at."""
        return requests_per_second / (hosts * self.host_rate)


def fleet(demand: Demand, host_rate: float, offered: float | None = None) -> Fleet:
    """Return the hosts that carry the demand at its utilisation while one zone is gone."""
    needed = (demand.requests_per_second if offered is None else offered) / (host_rate * demand.utilisation)
    each = math.ceil(needed / (demand.zones - 1))
    return Fleet(each * demand.zones, each, host_rate)


def workers_per_gpu(demand: Demand) -> int:
    """Return the HTTP workers that keep one engine busy with full batches."""
    return math.ceil(engine_rate(demand.engine_hand_over_us) * worker_seconds(demand.worker_hand_over_us))


def engine_rate_beside(demand: Demand) -> float:
    """Return the lists/s of an engine whose process does all its Python beside the runs."""
    each = demand.engine_hand_over_us * MICRO
    return min(engine_rate(), 1 / each) if each else engine_rate()


def gpu_fleet(demand: Demand, *, beside: bool = False) -> Fleet:
    """Return hosts of one GPU: one core for its engine, the others for HTTP workers.

    `beside`: as if hand-over and run took no time of each other.
    """
    workers = demand.cores_per_gpu - 1
    engine = engine_rate_beside(demand) if beside else engine_rate(demand.engine_hand_over_us)
    return fleet(demand, min(engine, workers / worker_seconds(demand.worker_hand_over_us)))


def cpu_fleet(demand: Demand) -> Fleet:
    """Return hosts without a GPU, of as many cores."""
    return fleet(demand, f.CPU_SERVICE.value * (demand.cores_per_gpu // f.CPU_THREADS.value))


def break_even_us(demand: Demand) -> float:
    """Return the engine's hand-over at which a GPU makes a host no faster.

    In full batches, nothing overlapping, with workers enough. Below 0: a host without a GPU is the faster.
    """
    seconds = LARGEST_BATCH / cpu_fleet(demand).host_rate - gpu_run().seconds(LARGEST_BATCH)
    return seconds / LARGEST_BATCH / MICRO


def weak_core_fleet(demand: Demand) -> Fleet:
    """Return shared cores at half speed, one worker on each."""
    return fleet(demand, f.CPU_GOODPUT.value)


def gbit(demand: Demand, body: f.Figure) -> float:
    """Return what requests and answers take of a network, without protocols below HTTP."""
    each = body.value + f.HEAD_BYTES.value + f.ANSWER_BYTES.value
    return demand.requests_per_second * each / GIGABIT


def balancers(demand: Demand, body: f.Figure) -> Fleet:
    """Return load balancers by the tighter of their requests/s and their network."""
    by_network = f.BALANCER_GBIT.value / gbit(demand, body) * demand.requests_per_second
    return fleet(demand, min(f.BALANCER.value, by_network))


@dataclass(frozen=True, slots=True)
class CatalogueLoad:
    """Seconds and bytes that a catalogue takes of every host and of the network."""

    size: float
    build: float
    build_memory: float
    copy: float
    checks: float
    rollout: float


def catalogue(demand: Demand, hosts: int) -> CatalogueLoad:
    """Size a catalogue, scaled up from one of a million items.

    A host reads it twice to compare checksums.
    """
    size = demand.items * f.CATALOGUE_BYTES.value
    return CatalogueLoad(
        size=size,
        build=demand.items / f.CATALOGUE_BUILD.value,
        build_memory=demand.items * f.CATALOGUE_BUILD_BYTES.value,
        copy=size / (demand.host_gbit * GIGABIT),
        checks=2 * size / (f.CHECKSUM.value * 1e6),
        rollout=size * hosts,
    )


@dataclass(frozen=True, slots=True)
class LiveLoad:
    """Values/s asked for and asked of Redis, those that a process keeps, and Redis' size.

    `kept_for` are the seconds that a value is kept: fewer than it may where there are too many.
    """

    asked: float
    missed: float
    kept: float
    kept_for: float
    copies: int
    memory: float


def live(demand: Demand, processes: int) -> LiveLoad:
    """Count the prices of all candidates, and the other fields of the encoded ones.

    A copy of Redis is one core, and has everything; as many are left without a zone as hosts are.
    """
    asked_by_field = [
        (f.CANDIDATES.value, min(1, demand.live_fields)),
        (f.QUEUED.value, max(0, demand.live_fields - 1)),
    ]
    asked = sum(values * fields for values, fields in asked_by_field) * demand.requests_per_second
    each = demand.requests_per_second / processes

    def missed_if(seconds: float) -> float:
        return sum(misses(demand, values * each, seconds) * fields for values, fields in asked_by_field)

    kept_for = _kept_for(missed_if)
    missed = missed_if(kept_for)
    return LiveLoad(
        asked=asked,
        missed=missed * processes,
        kept=missed * kept_for,
        kept_for=kept_for,
        copies=fleet(demand, 1 / (f.REDIS_VALUE.value * MICRO), missed * processes).hosts,
        memory=demand.items * demand.live_fields * f.REDIS_BYTES.value,
    )


def _kept_for(missed_if: Callable[[float], float]) -> float:
    """Return how long a process keeps values without having too many."""
    low, high = 0.0, f.LIVE_TTL.value
    if missed_if(high) * high <= f.LIVE_KEPT.value:
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if missed_if(middle) * middle <= f.LIVE_KEPT.value else (low, middle)
    return low


def misses(demand: Demand, rate: float, seconds: float = f.LIVE_TTL.value) -> float:
    """Return the values/s of one field that a process asks of Redis.

    It keeps each for T after its question. An item asked for r times a second is asked of Redis r / (1 + r·T) times.
    """
    ranks, counts = _ranks(demand.items)
    weights = ranks**-demand.popularity
    rates = rate * weights / (weights * counts).sum()
    return float((rates / (1 + rates * seconds) * counts).sum())


def _ranks(items: float) -> tuple[Floats, Floats]:
    """Return ranks that stand for all, and how many each stands for."""
    edges = np.unique(np.geomspace(1, items + 1, _BINS).astype(np.int64))
    return np.sqrt(edges[:-1] * (edges[1:] - 1.0)), np.diff(edges).astype(float)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Series, samples/s, bytes and cores of all that is told of requests."""

    series: float
    samples_per_second: float
    sample_bytes_per_day: float
    log_lines_per_second: float
    log_bytes_per_day: float
    spans_per_second: float
    trace_cores: float


def telemetry(demand: Demand, hosts: int) -> Telemetry:
    """Count one scrape of each host, and the samples of log and traces."""
    series, traced = hosts * f.SAMPLES.value, demand.requests_per_second * f.TRACE_SHARE.value
    samples = series / f.SCRAPE_EVERY.value
    lines = demand.requests_per_second * f.LOG_SHARE.value
    return Telemetry(
        series=series,
        samples_per_second=samples,
        sample_bytes_per_day=samples * f.SAMPLE_BYTES.value * 24 * HOUR,
        log_lines_per_second=lines,
        log_bytes_per_day=lines * f.LOG_BYTES.value * 24 * HOUR,
        spans_per_second=traced * f.TRACE_SPANS.value,
        trace_cores=traced * f.TRACE_CPU.value * MICRO,
    )
