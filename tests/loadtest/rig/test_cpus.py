"""Server and client get CPUs of their own, and a thread goes back to where it ran before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from loadtest.rig.server import CpuSplit, on_cpus


def test_server_and_client_are_kept_apart_where_there_are_cpus_for_both() -> None:
    assert CpuSplit.of({3, 0, 1}, 1) == CpuSplit((0,), (1, 3))
    assert not CpuSplit.of({0, 1}, 1).shared
    assert CpuSplit.of({0, 1}, 2) == CpuSplit((0, 1), (0, 1))
    assert CpuSplit.of({5}, 1).shared
    for asked in (0, 3):
        with pytest.raises(ValueError, match="--cpus: must be 1 to 2"):
            CpuSplit.of({0, 1}, asked)


def test_a_thread_goes_back_to_its_cpus_and_what_it_starts_stays_on_them() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    with on_cpus(one):
        assert os.sched_getaffinity(0) == one
        shown = subprocess.run(
            [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert shown.stdout.strip() == str(one)
    assert os.sched_getaffinity(0) == before
    with on_cpus(()):
        assert os.sched_getaffinity(0) == before
