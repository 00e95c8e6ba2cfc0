"""Declare and read the options that say which workers run the steps of an experiment."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models.distributed.cluster import RayOptions, add_ray_options, connected
from models.evaluation.parallel_steps import Workers
from models.evaluation.step_actors import RayWorkers
from models.evaluation.step_processes import StepProcesses
from models.options import check_at_least


def add_step_options(parser: argparse.ArgumentParser, jobs: str) -> None:
    """Add ``--jobs``, with its help, ``--ray`` and ``--workers``."""
    parser.add_argument("--jobs", type=int, metavar="N", help=jobs)
    add_ray_options(parser)


def read_ray_options(arguments: argparse.Namespace) -> RayOptions | None:
    """Read the options of a cluster; None without ``--ray``.

    The command must have ``--device`` and ``--threads``, or set them. Raises `ValueError` naming an option that is
    wrong or does not go with another.
    """
    check_at_least(arguments, jobs=1)
    ray = RayOptions.of(arguments)
    if ray is not None and arguments.jobs is not None:
        raise ValueError("--jobs: is for processes of this machine; --workers says how many the cluster of --ray runs")
    return ray


@contextmanager
def step_workers(ray: RayOptions | None, jobs: int) -> Iterator[Workers[Any]]:
    """Connect to a cluster and yield its workers; without one, `jobs` local processes."""
    if ray is None:
        yield StepProcesses(jobs)
    else:
        with connected(ray) as cluster:
            yield RayWorkers(cluster)
