"""Two processes that share every batch learn what one does, and say so when they were given different lists."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.training.processes import Processes, claim_device
from tests.models.distributed.namespace import require_namespace, run
from tests.models.distributed.shared_batches import history, trained


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 32])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_weighted_shares_have_the_mean_of_the_whole_batch(rows: int, count: int) -> None:
    values = np.random.default_rng(0).normal(size=rows)
    shares = [Processes(rank, count).share(np.arange(rows)) for rank in range(count)]
    assert np.mean([weight * values[own].mean() for own, weight in shares]) == pytest.approx(values.mean())
    used = np.concatenate([own for own, weight in shares if weight])
    assert sorted(used.tolist()) == list(range(rows))


@pytest.mark.parametrize("rows", [1, 10, 29, 30])
def test_every_batch_of_validation_lists_is_read_by_one_process(rows: int) -> None:
    parts = [Processes(rank, 3).batches(rows, 10) for rank in range(3)]
    assert np.concatenate([part for part in parts if part is not None]).tolist() == list(range(rows))
    assert Processes().batches(rows, 10) is None


def test_without_a_process_group_there_is_one_process() -> None:
    alone = Processes.here()
    assert alone == Processes(0, 1)
    assert alone.writes
    assert alone.sum(2.5) == 2.5
    model = torch.nn.Linear(1, 1)
    assert alone.wrap(model) is model
    alone.agree({"lists": "these"})
    alone.wait()
    assert claim_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(("rank", "gpu"), [("0", 0), ("1", 1), ("5", 1)])
def test_each_process_of_a_machine_makes_a_gpu_of_its_own_the_current_one(
    rank: str, gpu: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = list[torch.device]()
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr(Processes, "here", lambda: Processes(int(rank), 6))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert claim_device(torch.device("cuda")) == torch.device("cuda", gpu)
    assert current == [torch.device("cuda", gpu)]


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_two_processes_learn_what_one_does_whole_and_resumed(tmp_path: Path) -> None:
    require_namespace()
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    run([*launch, "--master-port", "29556", "-m", "tests.models.distributed.shared_batches", str(tmp_path)])
    seen = json.loads((tmp_path / "seen.json").read_text())
    one = history(trained(tmp_path / "one"))
    assert np.array(seen["whole"]) == pytest.approx(np.array(one), rel=1e-4)
    assert seen["parts"] == seen["whole"]
    assert seen["problem"] == "process 1 does not train as process 0: name is lists of 1, not lists of 0"
