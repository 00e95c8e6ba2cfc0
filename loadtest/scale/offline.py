"""Turn lists a month into disks, processes and hours of training and mining."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loadtest.scale import figures as f
from loadtest.scale.demand import HOUR, MONTH, Demand
from loadtest.scale.online import MICRO


@dataclass(frozen=True, slots=True)
class Lists:
    """Logged lists: lists/s, the share of requests that they are, and bytes."""

    per_second: float
    share: float
    bytes_a_month: float
    bytes_kept: float
    bytes_per_second: float


def lists(demand: Demand, each: f.Figure) -> Lists:
    """Count the lists of a month on disk, once."""
    per_second = demand.lists_per_month / MONTH
    month = demand.lists_per_month * each.value
    return Lists(
        per_second=per_second,
        share=per_second / demand.requests_per_second,
        bytes_a_month=month,
        bytes_kept=month * demand.months_kept,
        bytes_per_second=month / MONTH,
    )


@dataclass(frozen=True, slots=True)
class Training:
    """CPU seconds of one retraining in one process, and processes for the window.

    None: no number is enough. `each_reads` are the seconds that every process takes to read and encode all lists,
    `most` the lists for which that alone fills the window.
    """

    cpu: float
    each_reads: float
    most: float
    processes: int | None
    cpu_of_all: float | None
    arrays: float | None


def training(demand: Demand) -> Training:
    """Divide the steps of an epoch between processes, each of which reads all lists."""
    reads, window = demand.trained * f.ENCODE.value * MICRO, demand.hours * HOUR
    steps = demand.trained * (f.TRAIN.value - f.ENCODE.value) * MICRO
    processes = math.ceil(steps / (window - reads)) if reads < window else None
    return Training(
        cpu=reads + steps,
        each_reads=reads,
        most=window / (f.ENCODE.value * MICRO),
        processes=processes,
        cpu_of_all=None if processes is None else steps + reads * processes,
        arrays=None if processes is None else demand.trained * f.ARRAY_BYTES.value * processes,
    )


@dataclass(frozen=True, slots=True)
class Mining:
    """CPU seconds of all actors, actors for the window, and seconds of laying out requests."""

    cpu: float
    actors: int
    lays: float


def mining(demand: Demand, rate: f.Figure) -> Mining:
    """Count actors of Ray at the rate of one process, since shards are independent."""
    cpu = demand.mined / rate.value
    return Mining(cpu, math.ceil(cpu / (demand.hours * HOUR)), demand.mined * f.ENCODE.value * MICRO)
