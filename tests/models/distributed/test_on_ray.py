"""Runs on a real Ray cluster, in a network namespace: workers that are killed cost no row and no epoch."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from models.cli import main
from models.data.list_writer import write_lists
from models.mining.shards import shard_path
from models.training.loop import LOG_FILE
from tests.models.distributed.namespace import finished, require_namespace, run, started
from tests.models.mining.examples import evaluator, files, some_records
from tests.models.training.records import make_record

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
LISTENS = "0A"
TRAINING = ("--folds", "0", "--dim", "8", "--layers", "1", "--heads", "2", "--field-dim", "4", "--list-length", "4")


@pytest.fixture(autouse=True)
def _ray_in_a_namespace() -> None:
    pytest.importorskip("ray")
    require_namespace()


def kill_one(process: subprocess.Popen[str], name: str, ready: Callable[[], bool]) -> None:
    """Kill a process of Ray of that name below `process`, as soon as it is `ready`."""
    while process.poll() is None:
        if ready():
            for child in psutil.Process(process.pid).children(recursive=True):
                if child.name().startswith(name[:15]):  # the system cuts names
                    child.send_signal(signal.SIGKILL)
                    return
        time.sleep(0.02)
    raise AssertionError(f"the run was over before {name} could be killed: {process.communicate()[0]}")


def mining(folder: Path) -> list[str]:
    """The command line of a run of 30 shards, but for its folder."""
    records = some_records(train=59, valid=1)
    options = (*files(folder, records, evaluator(records)), "--width", "6", "--local-search", "all")
    return ["mine", *options, "--shard-size", "2", "--threads", "1", "--device", "cpu"]


def require_the_rows_of_one_process(command: Sequence[str], out: Path) -> None:
    """Do it in this process too, and compare all files."""
    here = out.with_name("here")
    assert main([*command, str(here)]) == 0
    found = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (here, out)]
    assert found[0] == found[1]


def test_a_killed_actor_costs_no_row_and_the_files_are_those_of_one_process(tmp_path: Path) -> None:
    command, out = mining(tmp_path), tmp_path / "ray"
    process = started(["-m", "models.cli", *command, "--out", str(out), "--ray", "local", "--workers", "2"])
    kill_one(process, "ray::MapWorker", shard_path(out, 0).exists)
    assert listening(process.pid) <= LOOPBACK
    assert "60 requests in 30 shards" in finished(process)
    require_the_rows_of_one_process([*command, "--out"], out)


@pytest.mark.slow
def test_a_lost_node_costs_no_row(tmp_path: Path) -> None:
    command, out = mining(tmp_path), tmp_path / "ray"
    module = ["-m", "tests.models.distributed.lost_node", str(shard_path(out, 0))]
    assert "60 requests in 30 shards" in run([*module, *command, "--out", str(out)])
    require_the_rows_of_one_process([*command, "--out"], out)


def test_an_evaluator_that_was_replaced_or_is_gone_is_named(tmp_path: Path) -> None:
    assert "both as expected" in run(["-m", "tests.models.distributed.other_evaluator", str(tmp_path)])


def test_a_killed_worker_costs_no_epoch_and_two_learn_as_one(tmp_path: Path) -> None:
    data = tmp_path / "lists.parquet"
    write_lists(data, [make_record(i, split="train" if i < 200 else "valid") for i in range(240)], {})
    options = ["--data", str(data), *TRAINING, "--epochs", "6", "--batch-size", "33", "--device", "cpu"]
    command = ["-m", "models.cli", "train", "sort-gen", *options, "--threads", "1"]
    process = started([*command, "--out", str(tmp_path / "ray"), "--ray", "local", "--workers", "2"])
    kill_one(process, "ray::RayTrainWorker", (tmp_path / "ray" / LOG_FILE).exists)
    assert "checkpoint.pt" in finished(process)
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    run([*launch, "--master-port", "29555", *command, "--out", str(tmp_path / "torchrun")])
    assert main([*command[2:], "--threads", "1", "--out", str(tmp_path / "here")]) == 0
    ray, torchrun, here = (losses(tmp_path / name) for name in ("ray", "torchrun", "here"))
    assert len(ray) == 6
    assert ray == torchrun
    assert ray == pytest.approx(here, rel=0.02)


def test_a_killed_task_costs_no_row_and_the_parts_are_those_of_one_process(tmp_path: Path) -> None:
    command = ["data", "simulator", "--lists", "3000", "--parts", "6", "-o"]
    making = started(["-m", "models.cli", *command, str(tmp_path / "ray"), "--ray", "local", "--workers", "2"])
    kill_one(making, "ray::keep_records", lambda: any(tmp_path.glob(".ray.*.work/records-00001.arrow")))
    assert listening(making.pid) <= LOOPBACK
    assert "3000 lists (" in finished(making)
    require_the_rows_of_one_process(command, tmp_path / "ray")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "ray"]


def test_sigterm_ends_a_run_as_without_ray_and_leaves_no_parts(tmp_path: Path) -> None:
    command = ["data", "simulator", "--lists", "30000", "--parts", "6", "-o", str(tmp_path / "lists")]
    making = started(["-m", "models.cli", *command, "--ray", "local", "--workers", "2"])
    while not any(tmp_path.glob(".lists.*.work/.records-*")):
        assert making.poll() is None, making.communicate()[0]
        time.sleep(0.02)
    making.send_signal(signal.SIGTERM)
    printed, _ = making.communicate(timeout=280)
    assert making.returncode == 128 + signal.SIGTERM, printed
    assert not (tmp_path / "lists").exists()


def test_a_killed_task_of_a_check_is_done_again_and_the_report_is_that_of_one_process(tmp_path: Path) -> None:
    lists = str(tmp_path / "lists")
    assert main(["data", "simulator", "--lists", "3000", "--parts", "6", "-o", lists]) == 0
    command = ["data", "check", lists, "--ignore", "user.thrift", "--json"]
    checking = started(["-m", "models.cli", *command, str(tmp_path / "ray"), "--ray", "local", "--workers", "2"])
    kill_one(checking, "ray::survey_part", lambda: True)
    assert "3,000" in finished(checking)
    assert main([*command, str(tmp_path / "here")]) == 0
    assert (tmp_path / "ray").read_bytes() == (tmp_path / "here").read_bytes()


def test_tasks_come_in_order_and_their_errors_by_name(tmp_path: Path) -> None:
    assert "all as expected" in run(["-m", "tests.models.distributed.some_tasks", str(tmp_path)])


def listening(pid: int) -> set[str]:
    """The addresses that anything in the namespace of a process listens on, as the kernel writes them."""
    tables = [Path(f"/proc/{pid}/net/{name}").read_text("ascii").splitlines()[1:] for name in ("tcp", "tcp6")]
    return {row.split()[1].partition(":")[0] for table in tables for row in table if row.split()[3] == LISTENS}


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / LOG_FILE).read_text("utf-8").splitlines()]
    return [row["valid_loss"] for row in rows]
