"""Measure mining by an actor of Ray against mining in one process.

Both mine the same requests by one worker of one thread, side by side, so that other work on the machine slows them
alike. The time between two shards leaves the start out, which is told apart. Ray listens on ports, so run it where none
can reach them, as in ``unshare -rn sh -c 'ip link set lo up; python -m loadtest.cost.ray_mining'``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Final

from loadtest.rig.machine import made_with
from models.cli import main as listwright
from models.mining.shards import shard_path

_COMMAND: Final = (sys.executable, "-m", "models.cli", "mine")
_SMALL: Final = ("--dim", "32", "--layers", "2", "--heads", "2", "--epochs", "1", "--folds", "0", "--threads", "1")


def main() -> int:
    """Make lists and an evaluator, mine in both ways, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="requests of a task (default: %(default)s)")
    parser.add_argument("--tasks", type=int, default=6, help="tasks of each run (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="listwright-ray-") as name:
        folder = Path(name)
        inputs = _prepare(folder, options.requests * options.tasks)
        inputs += ["--valid-slates", "0", "--shard-size", str(options.requests), "--width", "4", "--threads", "1"]
        began = time.time()
        on_ray = _started(folder / "ray", inputs, ("--ray", "local", "--workers", "1"))
        # The cluster takes long to start, and the two are to mine at the same time.
        while on_ray.poll() is None and not shard_path(folder / "ray", 0).exists():
            time.sleep(0.1)
        here = _started(folder / "here", inputs)
        if on_ray.wait() or here.wait():
            raise SystemExit("a run failed")
        times = {way: _written(folder / way, options.tasks) for way in ("here", "ray")}
    print(f"{made_with(0)}\n{options.requests} requests a task, {options.tasks} tasks")
    _report(times, began)
    return 0


def _prepare(folder: Path, requests: int) -> list[str]:
    data, run = folder / "lists.parquet", folder / "evaluator"
    # A tenth of the lists is for validation, and another one for tests.
    simulated = ["data", "simulator", "--output", str(data), "--lists", str(round(requests * 1.4)), "--quiet"]
    trained = ["train", "degre-evaluator", "--data", str(data), "--out", str(run), "--list-length", "6", *_SMALL]
    if listwright(simulated) or listwright(trained):
        raise SystemExit("the evaluator could not be made")
    return ["--data", str(data), "--evaluator", str(run / "checkpoint.pt"), "--slates", str(requests)]


def _started(out: Path, inputs: list[str], more: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    # Ray's workers give way to other processes, which would make this no comparison.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return subprocess.Popen([*_COMMAND, *inputs, "--out", str(out), *more], env=environment)


def _written(folder: Path, tasks: int) -> list[float]:
    """Tell when each shard was whole, earliest first."""
    return sorted(shard_path(folder, shard).stat().st_mtime for shard in range(tasks))


def _report(times: dict[str, list[float]], began: float) -> None:
    # Only while both mined did they share the machine.
    begin, end = max(found[0] for found in times.values()), min(found[-1] for found in times.values())
    middle = {}
    for way, found in times.items():
        tasks = [b - a for a, b in pairwise(found) if begin <= b and a < end]
        if not tasks:
            raise SystemExit("the runs did not mine at the same time; ask for more --tasks")
        middle[way] = statistics.median(tasks)
        print(f"{way}: first shard after {found[0] - began:.1f} s, then {middle[way]:.2f} s a task ({len(tasks)})")
    print(f"Ray's overhead a task: {100 * (middle['ray'] / middle['here'] - 1):+.1f}%")


if __name__ == "__main__":
    raise SystemExit(main())
