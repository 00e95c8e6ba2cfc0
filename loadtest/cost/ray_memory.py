"""Measure the memory of Ray workers that train one epoch on many lists.

Lists are drawn once and written again and again under other ids, as part files. The resident memory of every worker is
sampled, files that are mapped left out and with them. Ray listens on ports: run it where none can reach them, as in
``unshare -rn sh -c 'ip link set lo up; python -m loadtest.cost.ray_memory'``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loadtest.rig.machine import made_with
from models.cli import main as listwright

_WORKER: Final = "ray::RayTrainWo"
"""What every system leaves of the name of Ray Train's workers."""
_EVERY: Final = 1.0
"""Seconds between two samples."""
_SMALL: Final = ("--dim", "16", "--layers", "1", "--heads", "2", "--list-length", "6", "--batch-size", "4096")
_TRAINING: Final = ("--folds", "0", "--epochs", "1", "--no-gate", "--context", "none", "--affinity", "0", *_SMALL)


def main() -> int:
    """Write the lists, train on them, and print the largest memory of each worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--lists", type=int, default=10_000_000, help="lists of all parts (default: %(default)s)")
    add("--part", type=int, default=100_000, help="lists of a part file (default: %(default)s)")
    add("--workers", type=int, default=2, help="workers (default: %(default)s)")
    add("--folder", type=Path, required=True, help="where parts and the run are kept; parts that are there are used")
    options = parser.parse_args()
    print(made_with(0))
    write_parts(options.folder / "lists", options.lists, options.part)
    command = [sys.executable, "-m", "models.cli", "train", "sort-gen", "--data", str(options.folder / "lists")]
    command += ["--out", str(options.folder / "run"), "--device", "cpu", "--threads", "1", *_TRAINING]
    process = subprocess.Popen(
        [*command, "--ray", "local", "--workers", str(options.workers)], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    began, most = time.monotonic(), dict[int, tuple[int, int]]()
    while process.poll() is None:
        sample(process.pid, most)
        time.sleep(_EVERY)
    for pid, (resident, own) in most.items():
        print(f"worker {pid}: at most {resident / 2**30:.2f} GiB resident, {own / 2**30:.2f} GiB without mapped files")
    print(f"{options.lists:,} lists, {time.monotonic() - began:.0f} s, status {process.returncode}")
    return process.returncode


def write_parts(folder: Path, lists: int, part: int) -> None:
    """Write the parts that are not there: the first one's lists, under other ids."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "part-00000.parquet"
    if not first.exists() and listwright(["data", "simulator", "-o", str(first), "--lists", str(part), "--quiet"]):
        raise SystemExit("the first part could not be made")
    table = pq.read_table(first)
    at = table.schema.get_field_index("request_id")
    for number in range(1, lists // part):
        path = folder / f"part-{number:05}.parquet"
        if not path.exists():
            ids = pc.binary_join_element_wise(table.column(at).cast(pa.string()), str(number), "/")
            named = table.set_column(at, table.schema.field(at), ids.cast(table.schema.field(at).type))
            pq.write_table(named, path.with_suffix(".partial"), compression="zstd", row_group_size=10_000)
            path.with_suffix(".partial").rename(path)


def sample(root: int, most: dict[int, tuple[int, int]]) -> None:
    """Note the memory of the workers below a process, if it is more than before."""
    for child in psutil.Process(root).children(recursive=True):
        try:
            if child.name().startswith(_WORKER):
                memory = child.memory_info()
                resident, own = most.get(child.pid, (0, 0))
                most[child.pid] = (max(resident, memory.rss), max(own, memory.rss - memory.shared))
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    raise SystemExit(main())
