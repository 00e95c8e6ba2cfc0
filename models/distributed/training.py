"""Train on a Ray cluster: Ray Train starts the processes, which share every batch (`training.processes`).

All of them read the list file and the run folder, so these must be ones that all machines see. When a process is lost,
Ray Train starts all of them again, and they go on after the last epoch that was finished.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from models.distributed.cluster import LOCAL, RayCluster, RayError, first_line, load_ray
from models.files import whole_file
from models.locks import LockedError, only_one
from models.nets.checkpoint import CheckpointError
from models.training.loop import has_begun
from models.training.value import require_new_run

_LOSSES: Final = 5
"""How often processes may be lost before the run fails."""
_FOLDER: Final = ".ray"
_LOCK: Final = ".ray.lock"
"""It lies beside the folder, which is deleted while the lock is held."""
_PROBLEM: Final = "problem.txt"
"""What is wrong with the input, as the process that met it says."""

Work = Callable[[str, bool], str]
"""Train in this process on a device, ``cpu`` or ``cuda``, from the start or going on; return the report."""


def train_on_ray(work: Work, folder: Path, cluster: RayCluster, *, resume: bool) -> str:
    """Let the processes of a cluster `work` on a run, and return its report.

    The report is that of the first process. `work` must be picklable, and paths in it absolute. Raises `ValueError` as
    training does, `locks.LockedError` if another works in `folder`, and `RayError` if too many processes were lost.
    """
    _check_folder(folder, resume)
    with only_one(folder, _LOCK):
        # A command that was killed may have left a problem, which is not one of this run.
        (folder / _FOLDER / _PROBLEM).unlink(missing_ok=True)
        shutil.rmtree(folder / _FOLDER, ignore_errors=True)
        try:
            return _fit(work, folder.resolve(), cluster)
        finally:
            shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def _check_folder(folder: Path, resume: bool) -> None:
    """Check once what every start of the processes would find otherwise."""
    if not resume:
        require_new_run(folder)
    elif not has_begun(folder):
        raise CheckpointError(f"{folder}: holds no run to resume")


def _fit(work: Work, folder: Path, cluster: RayCluster) -> str:
    train, torch_trainer = load_ray("ray.train"), load_ray("ray.train.torch")
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    trainer = torch_trainer.TorchTrainer(
        _work,
        train_loop_config={"work": work, "folder": folder, "device": cluster.device},
        torch_config=torch_trainer.TorchConfig(backend="nccl" if cluster.gpu else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=_processes(cluster),
            use_gpu=cluster.gpu,
            resources_per_worker={"CPU": cluster.threads, "GPU": int(cluster.gpu)},
        ),
        run_config=train.RunConfig(
            name="train",
            storage_path=str(folder / _FOLDER),
            failure_config=train.FailureConfig(max_failures=_LOSSES),
        ),
    )
    try:
        return str(trainer.fit().return_value)
    except Exception as error:
        raise _failure(folder, error) from error


def _processes(cluster: RayCluster) -> int:
    """Count the processes, and warn of a wait for more machines.

    Raises `RayError` for more than this machine can run: a local cluster does not grow.
    """
    processes, room = cluster.workers, cluster.room
    if processes > room:
        problem = f"--workers: {processes} processes train together, and {cluster.address} has room for {room}"
        if cluster.address == LOCAL:
            raise RayError(problem)
        print(f"warning: {problem}; the training waits for more machines", file=sys.stderr, flush=True)
    return processes


def _work(config: dict[str, Any]) -> str:
    """Work in one process, going on if an earlier start of it finished an epoch."""
    problem: Path = config["folder"] / _FOLDER / _PROBLEM
    if problem.exists():  # A list file that cannot be read is not read better by another start.
        raise RuntimeError(problem.read_text("utf-8"))
    try:
        report: str = config["work"](config["device"], has_begun(config["folder"]))
    except LockedError:  # A process that is being replaced may hold the folder for a moment.
        raise
    except ValueError as error:
        with whole_file(problem) as partial:
            partial.write_text(str(error), "utf-8")
        raise
    return report


def _failure(folder: Path, error: Exception) -> Exception:
    """Find the problem that a process met, or else say how the run failed."""
    problem = folder / _FOLDER / _PROBLEM
    if problem.exists():
        return ValueError(problem.read_text("utf-8"))
    return RayError(f"--ray: the training failed: {first_line(error)}")
