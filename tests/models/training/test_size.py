"""A large log is fitted and trained on in bounded memory: it is the simulator's, many times over under other ids.

``LISTWRIGHT_TEST_LISTS=1000000 pytest -m slow tests/models/training/test_size.py -s`` measures a million lists.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Final

import pytest

from models.data.list_writer import write_lists
from models.data.records import ListRecord
from models.datasets import simulated_logs
from models.datasets.simulator import SimulatorConfig

LISTS: Final = int(os.environ.get("LISTWRIGHT_TEST_LISTS", "100000"))
MOST: Final = 2 << 30
"""Bytes that a training of any size may have in memory."""
DIFFERENT: Final = 2000
"""Lists that are simulated; memory does not depend on how many of them differ."""

TRAINING: Final = """
import sys
from pathlib import Path
import torch
from models.nets.value import ValueConfig
from models.training.loop import TrainOptions
from models.training.value import train_value_model

train_value_model(
    Path(sys.argv[1]), Path(sys.argv[2]), family="sort-gen", config=ValueConfig(dim=32, layers=1),
    options=TrainOptions(epochs=1), device=torch.device("cpu"),
)
"""


def copies() -> Iterator[ListRecord]:
    """The simulated lists, again and again under other ids."""
    log = simulated_logs.load(SimulatorConfig(candidates=20), seed=0, lists=DIFFERENT, length=10)
    records = list(log.records)
    for turn in count():
        yield from (replace(r, request_id=f"{turn}-{r.request_id}") for r in records)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_large_log_is_trained_on_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    assert write_lists(path, islice(copies(), LISTS), {}) == LISTS
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", TRAINING, path, tmp_path / "run"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak, seconds = after.ru_maxrss * 1024, after.ru_utime - before.ru_utime
    print(f"{LISTS:,} lists: {peak / 2**20:.0f} MiB at most, {seconds:.0f} seconds of CPU")
    assert before.ru_maxrss < after.ru_maxrss, "no child before it was larger"
    assert peak < MOST
    assert (tmp_path / "run" / "checkpoint.pt").exists()
