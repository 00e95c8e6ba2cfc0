"""Mined files that cannot be used are named with what is wrong, and never read as something else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.mining.join import join_mined
from models.mining.shards import MANIFEST_FILE, MinedError, shard_path
from tests.models.mining.examples import encoded, evaluator, mine_some, read_mined, some_records

RECORDS = some_records()
EVALUATOR = evaluator(RECORDS)
Row = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mine_some(tmp_path, EVALUATOR, RECORDS, width=2)
    return tmp_path


def rewrite(path: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    table = pq.read_table(path)
    rows = change(table.to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


def edited(name: str, edit: Callable[[Any], Any]) -> Callable[[list[Row]], list[Row]]:
    """A change of one column of the second row."""

    def change(rows: list[Row]) -> list[Row]:
        rows[1][name] = edit(rows[1][name])
        return rows

    return change


def refused(folder: Path, problem: str) -> None:
    with pytest.raises(MinedError, match=problem):
        read_mined(folder, RECORDS, EVALUATOR.spec)
    with pytest.raises(MinedError, match=problem):
        join_mined(folder, encoded(RECORDS, EVALUATOR), EVALUATOR.spec.fingerprint)


def test_rows_come_with_their_requests_however_these_are_ordered(folder: Path) -> None:
    mined = read_mined(folder, RECORDS[::-1], EVALUATOR.spec)
    joined = join_mined(folder, encoded(RECORDS[::-1], EVALUATOR), EVALUATOR.spec.fingerprint)
    assert mined.slates.request_ids == tuple(r.request_id for r in RECORDS)
    assert mined.digest == joined.digest == read_mined(folder, RECORDS, EVALUATOR.spec).digest


@pytest.mark.parametrize("column", ["soft_labels", "step_values", "weights", "sequences", "request_id"])
def test_a_missing_column_is_named(folder: Path, column: str) -> None:
    path = shard_path(folder, 1)
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    refused(folder, f"shard-00001.parquet: there is no column '{column}'")


@pytest.mark.parametrize(
    ("column", "edit", "problem"),
    [
        ("sequences", lambda _: [], "list 'r-4', column sequences: there is none"),
        ("sequences", lambda x: [x[0][:-1], x[1]], "list 'r-4', column sequences: one has another length than 3"),
        ("sequences", lambda x: [[0, 1, 6], x[1]], "list 'r-4', column sequences: one names no candidate"),
        ("sequences", lambda x: [[0, 1, -1], x[1]], "list 'r-4', column sequences: one names no candidate"),
        ("sequences", lambda x: [[0, 1, 0], x[1]], "column sequences: one names no candidate, or one twice"),
        ("sequences", lambda _: None, "column sequences: does not hold lists"),
        ("sequences", lambda x: x[:1], "column step_values: its lengths do not fit"),
        ("step_values", lambda x: [x[0][:-1], x[1]], "column step_values: its lengths do not fit"),
        ("step_values", lambda x: [[float("nan")] * 3, x[1]], "column step_values: holds a number that is not finite"),
        ("soft_labels", lambda x: [[row[:-1] for row in s] for s in x], "column soft_labels: its lengths do not fit"),
        ("soft_labels", lambda _: [[[0.5] * 6] * 3] * 2, "list 'r-4', column soft_labels: are no distribution"),
        ("soft_labels", lambda _: None, "column soft_labels: does not hold lists"),
        ("weights", lambda x: x[:1], "column weights: its lengths do not fit"),
        ("objective_weights", lambda x: x[:2], "column objective_weights: its lengths do not fit"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_their_request_are_refused(
    folder: Path, column: str, edit: Callable[[Any], Any], problem: str
) -> None:
    rewrite(shard_path(folder, 1), edited(column, edit))
    refused(folder, problem)


def test_a_request_that_the_list_file_lacks_is_named(folder: Path) -> None:
    fewer = [r for r in RECORDS if r.request_id != "r-5"]
    with pytest.raises(MinedError, match="holds list 'r-5', which the list file lacks"):
        read_mined(folder, fewer, EVALUATOR.spec)
    with pytest.raises(MinedError, match="holds list 'r-5', which the list file lacks"):
        join_mined(folder, encoded(fewer, EVALUATOR), EVALUATOR.spec.fingerprint)


def test_a_request_whose_candidates_changed_is_refused(folder: Path) -> None:
    unlabelled = [dataclasses.replace(r, exposed=(), clicks=(), purchases=(), gmv=()) for r in RECORDS]
    shorter = [dataclasses.replace(r, candidates=r.candidates[:-1]) for r in unlabelled]
    with pytest.raises(MinedError, match=r"(soft_labels: its lengths do not fit|sequences: one names no candidate)"):
        read_mined(folder, shorter, EVALUATOR.spec)


def test_an_evaluator_of_another_fingerprint_is_refused(folder: Path) -> None:
    other = evaluator([dataclasses.replace(r, user={}) for r in RECORDS])
    with pytest.raises(MinedError, match="was mined by an evaluator with feature spec"):
        read_mined(folder, RECORDS, other.spec)


def test_mining_that_is_not_complete_is_refused(folder: Path) -> None:
    shard_path(folder, 2).unlink()
    refused(folder, "mining is not complete, 1 of 3 shards are missing")


def test_a_folder_without_a_manifest_is_refused(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()
    refused(folder, "holds no mined sequences")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 2}'])
def test_a_broken_manifest_is_named(folder: Path, text: str) -> None:
    (folder / MANIFEST_FILE).write_text(text)
    refused(folder, f"{MANIFEST_FILE}: ")


def test_a_shard_of_another_run_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    mine_some(other, EVALUATOR, RECORDS, width=3)
    shard_path(folder, 0).write_bytes(shard_path(other, 0).read_bytes())
    refused(folder, "shard-00000.parquet: is not a shard of the manifest.json beside it")


def test_a_damaged_shard_is_refused_by_reading_and_by_going_on(folder: Path) -> None:
    path = shard_path(folder, 0)
    path.write_bytes(path.read_bytes()[:100])
    refused(folder, "shard-00000.parquet: cannot be read as Parquet")
    with pytest.raises(MinedError, match=r"shard-00000\.parquet: cannot be read as Parquet"):
        mine_some(folder, EVALUATOR, RECORDS, width=2)


def test_a_request_that_stands_twice_is_refused(folder: Path) -> None:
    rewrite(shard_path(folder, 1), lambda rows: [rows[0], rows[0], rows[2]])
    with pytest.raises(MinedError, match="holds a request twice"):
        read_mined(folder, RECORDS, EVALUATOR.spec)


def test_a_split_without_sequences_is_named(folder: Path) -> None:
    with pytest.raises(MinedError, match="no sequences for lists of split 'test'"):
        read_mined(folder, RECORDS, EVALUATOR.spec, split="test")
