"""Write the part files of a list file on a Ray cluster.

A task makes the records of a part and keeps them, checked, in a file of a work folder beside the folder to be. Once the
fields of all parts are known, another writes the part. So all machines must see both folders. Either writes its file
whole or not at all, and what is written is what one process would write.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from models.data.list_file import ListFile
from models.data.list_spool import Spool, joined, rows_text, spooled
from models.data.list_writer import noted, part_name, part_rows, require_replaceable, write_file
from models.data.reading.field_types import FieldTypes
from models.data.records import ListFileError, ListRecord
from models.datasets.source import ListSource, Summary
from models.distributed.cluster import RayCluster, RayError, first_line
from models.distributed.tasks import run_tasks
from models.files import WORK, whole_file, whole_folder

Rows = Callable[[range], Iterator[ListRecord]]
"""Make the records of some rows: the same ones each time, in any process."""


@dataclass(frozen=True, slots=True)
class PartTask:
    """Name a part of the list file `path`, its rows, and its files."""

    path: Path
    work: Path
    part: int
    rows: range

    @property
    def records(self) -> Path:
        """Return the path of the checked records."""
        return self.work / f"records-{self.part:05}.arrow"

    @property
    def file(self) -> Path:
        """Return the path of the part, as long as others are missing."""
        return self.work / part_name(self.part)


@dataclass(frozen=True, slots=True)
class KeptPart:
    """Describe the checked records of a part: their fields, chunks in the file, and counts."""

    schema: pa.Schema
    chunks: int
    summary: Summary


@dataclass(frozen=True, slots=True)
class KeepRecords:
    """Make the records of a part, check them and keep them in a file."""

    rows: Rows

    def __call__(self, task: PartTask) -> KeptPart:
        """Keep the records of one part. Raises `ListFileError` for a wrong one."""
        summary = Summary()
        with whole_file(task.records) as partial_file, partial_file.open("w+b") as file:
            spool = Spool(task.path, file, task.rows.start)
            spool.fill(summary.watch(self.rows(task.rows)))
        return KeptPart(spool.schema(), spool.chunks, summary)


@dataclass(frozen=True, slots=True)
class WritePart:
    """Write a part of records that were kept, with the fields and metadata of all."""

    schema: pa.Schema

    def __call__(self, kept: tuple[PartTask, int]) -> None:
        """Write a part from its chunks of records.

        Raises `ListFileError` for records that are gone or cut off.
        """
        task, chunks = kept
        with whole_file(task.file) as partial_file:
            write_file(partial_file, self.schema, self._tables(task.records, chunks))

    def _tables(self, records: Path, chunks: int) -> Iterator[pa.Table]:
        try:
            with records.open("rb") as file:
                yield from spooled(file, chunks, self.schema)
        except (OSError, pa.ArrowException) as error:
            problem = f"{records}: cannot be read as the records of a part: {first_line(error)}"
            raise ListFileError(problem) from error


def write_parts(
    path: Path, source: ListSource, *, parts: int, cluster: RayCluster, done: Callable[[int], object]
) -> Summary:
    """Write the records of a source to a folder of parts, and count them.

    The folder is that of `list_writer.write_lists`. The process must be connected to the cluster, and the source one
    that reads any rows alone. `done` is told how many records are made. Raises `ListFileError`, and `RayError` for a
    run that failed.
    """
    if source.rows is None:
        raise RayError("--ray: the source can only be read in one sequence")
    require_replaceable(path, parts)
    shares = part_rows(path, source.total, parts)
    run = partial(run_tasks, cluster=cluster, workers=min(cluster.workers, parts))
    with whole_folder(path.absolute()) as folder, _work_folder(folder) as work:
        tasks = [PartTask(path, work, part, share) for part, share in enumerate(shares)]
        schemas, chunks, summary, types = list[pa.Schema](), list[int](), Summary(), FieldTypes()
        with closing(run("keep_records", KeepRecords(source.rows), tasks)) as kept:
            for task, found in zip(tasks, kept, strict=True):
                types.add(found.schema, rows_text(path, task.rows[0], task.rows[-1]))
                schemas.append(found.schema)
                chunks.append(found.chunks)
                summary.extend(found.summary)
                done(len(task.rows))
        write = WritePart(noted(joined(schemas), source.metadata))
        with closing(run("write_part", write, zip(tasks, chunks, strict=True))) as written:
            deque(written, maxlen=0)
        _gather(tasks, folder)
        deque(ListFile(folder).check_request_ids(), maxlen=0)
    return summary


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """Name a hidden folder beside a hidden one, and delete it at the end.

    What cannot be deleted stays: the parts are finished by then.
    """
    work = folder.with_suffix(f".{WORK}")
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _gather(tasks: Sequence[PartTask], folder: Path) -> None:
    """Move the parts out of the work folder; lost processes may have left more."""
    for task in tasks:
        try:
            task.file.replace(folder / task.file.name)
        except FileNotFoundError:
            raise RayError(f"{task.file}: was written, but is not there; do all machines see one folder?") from None
