"""`listwright mine`: killed and started again, with options that differ, and with bad input."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.cli import main
from models.mining.join import read_mined
from models.mining.shards import MANIFEST_FILE, shard_path
from tests.models.mining.examples import evaluator, files, some_records

RECORDS = some_records()
EVALUATOR = evaluator(RECORDS)
OPTIONS = ("--width", "3", "--shard-size", "3", "--local-search", "best", "--threads", "1", "--device", "cpu")


def run(inputs: Sequence[str], out: Path, *more: str) -> int:
    return main(["mine", *inputs, "--out", str(out), *OPTIONS, *more])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.long
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_rows(tmp_path: Path) -> None:
    records = some_records(train=23, valid=1)
    inputs = files(tmp_path, records, evaluator(records))
    more = ("--shard-size", "2")
    command = [sys.executable, "-m", "models.cli", "mine", *inputs, "--out", str(tmp_path / "killed"), *OPTIONS, *more]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(3000):
            if shard_path(tmp_path / "killed", 1).exists() or process.poll() is not None:
                break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = contents(tmp_path / "killed")
    (tmp_path / "killed" / ".shard-00011.parquet.1.partial").write_bytes(b"half")
    assert 2 <= len(before) - 1 < 12, "the run was not killed on its way"
    assert run(inputs, tmp_path / "killed", *more) == 0
    assert run(inputs, tmp_path / "whole", *more) == 0
    after = contents(tmp_path / "killed")
    assert after == contents(tmp_path / "whole")
    finished = {name: data for name, data in before.items() if name.startswith("shard-")}
    assert finished.items() <= after.items()


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    inputs = files(tmp_path, RECORDS, EVALUATOR)
    assert run(inputs, tmp_path / "out") == 0
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").iterdir())]
    assert run(inputs, tmp_path / "out") == 0
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").iterdir())] == stamps


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("--width", "2"), "width was 3, not 2"),
        (("--local-search", "all"), "local_search was best, not all"),
        (("--objectives", "5,1,1"), "objectives was (1.0, 0.0, 0.0), not (5.0, 1.0, 1.0)"),
        (("--objectives", "sampled"), "objectives was (1.0, 0.0, 0.0), not sampled"),
        (("--weight-temperature", "2"), "weight_temperature was 0.02, not 2.0"),
        (("--slates", "3"), "requests was"),
    ],
)
def test_a_folder_is_not_gone_on_with_by_other_options(
    change: tuple[str, ...], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = files(tmp_path, RECORDS, EVALUATOR)
    assert run(inputs, tmp_path / "out") == 0
    before = contents(tmp_path / "out")
    assert run(inputs, tmp_path / "out", *change) == 2
    assert problem in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


def test_another_evaluator_does_not_go_on_with_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files(tmp_path, RECORDS, EVALUATOR), tmp_path / "out") == 0
    assert run(files(tmp_path, RECORDS, evaluator(RECORDS, seed=1)), tmp_path / "out") == 2
    assert "evaluator was" in capsys.readouterr().err
    other = evaluator([dataclasses.replace(r, user={}) for r in RECORDS])
    assert run(files(tmp_path, RECORDS, other), tmp_path / "out") == 2
    assert "cannot be gone on with" in capsys.readouterr().err


def test_an_evaluator_of_features_that_the_lists_lack_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = [dataclasses.replace(r, user={"plan": "free"}) for r in RECORDS]
    assert run(files(tmp_path, bare, EVALUATOR), tmp_path / "out") == 2
    assert "user.age, which no list has" in capsys.readouterr().err


def test_shards_without_a_manifest_are_not_added_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = files(tmp_path, RECORDS, EVALUATOR)
    assert run(inputs, tmp_path / "out") == 0
    (tmp_path / "out" / MANIFEST_FILE).unlink()
    assert run(inputs, tmp_path / "out") == 2
    assert "shards without a manifest" in capsys.readouterr().err


def test_a_larger_draw_of_requests_keeps_those_of_a_smaller_one(tmp_path: Path) -> None:
    inputs = files(tmp_path, RECORDS, EVALUATOR)
    ids = []
    for count in ("2", "5"):
        assert run(inputs, tmp_path / count, "--slates", count, "--valid-slates", "1") == 0
        data, work = tmp_path / "lists.parquet", tmp_path / "work"
        mined = read_mined(tmp_path / count, data, EVALUATOR.spec, ("train", "valid"), work)
        ids.append(set(mined["train"].slates.request_ids))
        assert len(mined["valid"]) == 1
    assert len(ids[0]) == 2
    assert len(ids[1]) == 5
    assert ids[0] < ids[1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("--slates", "0"), "--slates: must be at least 1, not 0"),
        (("--threads", "0"), "--threads: must be at least 1, not 0"),
        (("--width", "0"), "width must be at least 1, not 0"),
        (("--length", "5"), "past the evaluator's horizon 3"),
        (("--evaluator", "nowhere.pt"), "nowhere.pt: there is no such file"),
    ],
)
def test_bad_options_are_named(
    change: tuple[str, ...], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(files(tmp_path, RECORDS, EVALUATOR), tmp_path / "out", *change) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_objectives_that_are_none_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--data", "x", "--evaluator", "y"], tmp_path / "out", "--objectives", "0,0,0")
    assert "--objectives" in capsys.readouterr().err


def test_a_list_file_without_training_lists_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files(tmp_path, some_records(train=0), EVALUATOR), tmp_path / "out") == 2
    assert "lists.parquet: has no lists of split 'train'" in capsys.readouterr().err


@pytest.mark.parametrize("objectives", ["5,1,1", "sampled"])
def test_short_lists_are_skipped_and_counted(
    objectives: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = evaluator(RECORDS, horizon=5)
    enough = [record for record in RECORDS if len(record.candidates) >= 5]
    (tmp_path / "long").mkdir()
    assert run(files(tmp_path, RECORDS, checkpoint), tmp_path / "some", "--objectives", objectives) == 0
    assert "skipped 3 of 9 lists with fewer candidates than --length 5\n" in capsys.readouterr().out
    inputs = files(tmp_path / "long", enough, checkpoint)
    assert run(inputs, tmp_path / "all", "--objectives", objectives) == 0
    assert "fewer candidates" not in capsys.readouterr().out
    some, every = contents(tmp_path / "some"), contents(tmp_path / "all")
    del some[MANIFEST_FILE], every[MANIFEST_FILE]
    assert some == every
    mined = read_mined(tmp_path / "some", inputs[1], checkpoint.spec, ["train", "valid"], tmp_path)
    assert sum(map(len, mined.values())) == len(enough)


def test_lists_that_are_all_short_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = files(tmp_path, RECORDS, evaluator(RECORDS, horizon=7))
    assert run(inputs, tmp_path / "out") == 2
    assert "all 9 lists have fewer candidates than --length 7" in capsys.readouterr().err
