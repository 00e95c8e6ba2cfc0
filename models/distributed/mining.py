"""Mine a dataset of shards on a Ray cluster, by a pool of actors.

Each actor holds the evaluator. The requests of a shard lie in a file beside the shards, from where an actor takes them
and to where it writes the shard; so the folder must be one that all machines see. An actor that is lost is started
again by Ray, with the shard that it had; one that was finished before is not mined twice.
"""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.contract.arrays import AnyArray, Floats32
from models.data.slates import SlateArrays
from models.distributed.cluster import RayCluster, RayError, first_line, load_ray, raised_there
from models.files import whole_file
from models.mining.mine import MiningRun, finished, miner_of
from models.mining.miner import Miner, MiningOptions
from models.mining.shards import MinedError, MinedManifest, shard_path, write_shard
from models.nets.checkpoint import load_checkpoint, weights_digest

REQUESTS_FOLDER: Final = ".requests"
_IDS: Final = "request_ids"
_WEIGHTS: Final = "objective_weights"


@dataclass(frozen=True)
class ShardTask:
    """Hold all that an actor must know of a run but its requests."""

    folder: Path
    evaluator: Path
    manifest: MinedManifest
    options: MiningOptions
    threads: int
    device: str

    def requests_path(self, shard: int) -> Path:
        """Return the path of the requests of a shard."""
        return self.folder / REQUESTS_FOLDER / f"requests-{shard:05}.npz"


class ShardActor:
    """Hold the evaluator, and mine shards by number.

    The evaluator is read with the first batch: of an error that is raised in here, Ray keeps no more than the text.
    """

    def __init__(self, task: ShardTask) -> None:
        torch.set_num_threads(task.threads)
        self._task = task

    @cached_property
    def _miner(self) -> Miner:
        task = self._task
        checkpoint = load_checkpoint(task.evaluator)
        if weights_digest(checkpoint.model) != task.manifest.identity["evaluator"]:
            raise MinedError(f"{task.evaluator}: is another evaluator than the run began with")
        return miner_of(checkpoint, task.options, task.manifest.length, torch.device(task.device))

    def __call__(self, batch: dict[str, AnyArray]) -> dict[str, AnyArray]:
        """Mine the shards of a batch, and count the requests of each.

        Raises `MinedError` for another evaluator and for requests that cannot be read, and `CheckpointError`.
        """
        counts = [self._mine(int(shard)) for shard in batch["shard"]]
        return {"shard": batch["shard"], "requests": np.array(counts)}

    def _mine(self, shard: int) -> int:
        task, rows = self._task, self._task.manifest.rows(shard)
        # The shard of an actor that was lost may be there already.
        if not finished(task.folder, shard, task.manifest):
            slates, weights = read_requests(task.requests_path(shard))
            mined = self._miner.mine(slates, weights, lambda _: None)
            write_shard(shard_path(task.folder, shard), mined, task.manifest.identity)
        return len(rows)


@dataclass(frozen=True)
class RayFill:
    """Mine the missing shards of a run by the actors of a cluster.

    `evaluator` is the checkpoint that the run was made with. Raises `ValueError` as an actor does, a `MinedError` for
    files that cannot be read or written, and `RayError` for a run that failed otherwise.
    """

    evaluator: Path
    cluster: RayCluster

    def __call__(self, run: MiningRun) -> None:
        """Mine, and show the progress."""
        if not run.missing:
            return
        folder, evaluator = run.folder.resolve(), self.evaluator.resolve()
        task = ShardTask(folder, evaluator, run.manifest, run.options, self.cluster.threads, self.cluster.device)
        with _requests(run, task), run.bar() as bar:
            for requests in _mined(task, run.missing, self.cluster):
                bar.update(requests * run.options.width)
        left = [shard for shard in run.missing if not finished(run.folder, shard, run.manifest)]
        if left:
            raise RayError(f"{shard_path(run.folder, left[0])}: was mined, but is not there; do all see one folder?")


def _mined(task: ShardTask, shards: tuple[int, ...], cluster: RayCluster) -> Iterator[int]:
    """Map the shards by a pool of actors; yield the requests of each."""
    data = load_ray("ray.data")
    _configure(data)
    workers = min(cluster.workers, len(shards))
    dataset = data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards)).map_batches(
        ShardActor,
        fn_constructor_args=(task,),
        batch_size=1,
        compute=data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
        num_cpus=cluster.threads,
        num_gpus=int(cluster.gpu),
    )
    try:
        for batch in dataset.iter_batches(batch_size=1, prefetch_batches=0):
            yield int(batch["requests"][0])
    except Exception as error:
        raise _failure(error) from error


def _configure(data: Any) -> None:
    """Ask for the errors of actors as they were, and for little output.

    The progress is left to our own bar, and the rest to Ray's log files.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True  # Behind one of Ray's it would be text only.


def _failure(error: Exception) -> Exception:
    """Turn an error of a run into one of ours, by what an actor raised."""
    found = raised_there(error, ValueError, OSError)
    if found is None:
        return RayError(f"--ray: the run failed: {first_line(error)}")
    return found if isinstance(found, ValueError) else MinedError(first_line(found))


@contextmanager
def _requests(run: MiningRun, task: ShardTask) -> Iterator[None]:
    """Lay out the requests of the missing shards, and delete them at the end."""
    folder = task.folder / REQUESTS_FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # what a run that was killed left
    try:
        for shard in run.missing:
            write_requests(task.requests_path(shard), *run.requests(shard))
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_requests(path: Path, slates: SlateArrays, weights: Floats32) -> None:
    """Write the requests of one shard, whole or not at all."""
    ids = np.frombuffer(json.dumps(slates.request_ids).encode(), np.uint8)
    with whole_file(path) as partial, partial.open("wb") as file:
        arrays: dict[str, Any] = {**slates.arrays(), _IDS: ids, _WEIGHTS: weights}
        np.savez(file, allow_pickle=False, **arrays)


def read_requests(path: Path) -> tuple[SlateArrays, Floats32]:
    """Read requests and their objective weights. Raises `MinedError` without a whole file."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        ids, weights = json.loads(arrays.pop(_IDS).tobytes()), arrays.pop(_WEIGHTS)
        return SlateArrays.of(arrays, ids), weights
    except FileNotFoundError:
        raise MinedError(f"{path}: is not there any more; start the run again") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise MinedError(f"{path}: cannot be read as requests: {first_line(error)}") from error
