"""`listwright data check`, the check before training, and the options about fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from models import cli
from models.data.list_writer import write_lists
from models.nets.checkpoint import load_checkpoint
from tests.models.checking.oddities import ODDITIES, clean, user
from tests.models.data.tables import table, written

FAMILIES = ("sort-gen", "degre-evaluator")
SMALL = [
    "--dim=8",
    "--layers=1",
    "--heads=1",
    "--list-length=4",
    "--field-dim=4",
    "--epochs=1",
    "--folds=0",
    "--device=cpu",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A clean list file."""
    path = tmp_path / "lists.parquet"
    write_lists(path, clean(), {"source": "simulator", "split": "hash of the user"})
    return path


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A list file with a field of codes."""
    path = tmp_path / "odd.parquet"
    write_lists(path, user(lambda i: i % 5, "segment"), {})
    return path


def test_a_clean_file_is_status_0_also_when_strict(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "check", str(file), "--strict"]) == 0
    printed = capsys.readouterr().out
    assert "split: hash of the user" in printed
    assert re.search(r"^all +300 +2,400 +1,200 ", printed, re.MULTILINE)
    assert "Nothing odd was found." in printed


def test_warnings_are_status_1_only_when_strict(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "check", str(odd)]) == 0
    assert cli.main(["data", "check", str(odd), "--strict"]) == 1
    assert "1 warning:\n 1. codes-read-as-numbers: whole numbers" in capsys.readouterr().out
    assert cli.main(["data", "check", str(odd), "--strict", "--field", "segment=category"]) == 0


def test_json_says_the_same(odd: Path, tmp_path: Path) -> None:
    assert cli.main(["data", "check", str(odd), "--json", str(tmp_path / "check.json")]) == 0
    told = json.loads((tmp_path / "check.json").read_text("utf-8"))
    assert told["total"]["lists"] == sum(counts["lists"] for counts in told["splits"].values()) == 300
    fields = {field["name"]: field for field in told["fields"]}
    assert fields["user.segment"]["read_as"] == "number"
    assert (fields["user.segment"]["low"], fields["user.segment"]["high"]) == (0, 4)
    assert fields["item.category"]["vocabulary"] == fields["item.category"]["distinct"]
    assert told["embeddings"] == {"share": 1.0, "width": 16}
    assert [warning["code"] for warning in told["warnings"]] == ["codes-read-as-numbers"]


def test_a_file_that_cannot_be_read_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("request,item\n1,2\n")
    assert cli.main(["data", "check", str(path), "--json", str(tmp_path / "check.json")]) == 2
    assert str(path) in capsys.readouterr().err
    assert not (tmp_path / "check.json").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--field", "segmnt=category"], "there is no field 'segmnt'"),
        (["--ignore", "item.nothing"], "there is no field 'item.nothing'"),
        (["--field", "ctr=category"], "ctr is a score"),
        (["--field", "price=hash"], "price is a score or the price"),
        (["--field", "segment=hash", "--ignore", "segment"], "cannot be both"),
        (["--field", "item.category=number"], "item.category"),
        (["--max-vocabulary", "0"], "--max-vocabulary"),
    ],
)
def test_choices_that_cannot_be_are_status_2(
    options: list[str], problem: str, odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "check", str(odd), *options]) == 2
    assert problem in capsys.readouterr().err
    assert cli.main(["train", "sort-gen", "--data", str(odd), "--out", str(tmp_path / "run"), *SMALL, *options]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--field=segment", "--field==category", "--field=a=text", "--ignore=a,,b"])
def test_malformed_choices_are_refused_by_the_parser(
    option: str, odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "check", str(odd), option])
    assert caught.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize("family", FAMILIES)
def test_training_prints_the_warnings_and_goes_on(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, run = tmp_path / "lists.parquet", tmp_path / "run"
    write_lists(path, user(lambda i: f"u{i}", "user_id"), {})
    assert cli.main(["train", family, "--data", str(path), "--out", str(run), *SMALL]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("checked 300 lists: 1 warning (`listwright data check ")
    assert "\n  1. user.user_id is hashed" in printed
    assert (run / "checkpoint.pt").exists()


def test_training_says_in_one_line_that_nothing_is_odd_and_reads_fields_as_chosen(
    odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options = ["--field", "user.segment=category", "--ignore", "style,thrift", "--max-vocabulary", "4"]
    assert cli.main(["train", "sort-gen", "--data", str(odd), "--out", str(run), *SMALL, *options]) == 0
    assert "user.segment" not in capsys.readouterr().out
    spec = load_checkpoint(run / "checkpoint.pt").spec
    kinds = {f"{group}.{f.name}": f.kind for group in ("user", "context", "item") for f in getattr(spec, group)}
    assert kinds["user.segment"] == "category"
    assert kinds["item.category"] == "hashed"
    assert {"item.style", "user.thrift"}.isdisjoint(kinds)


def test_training_on_a_broken_file_names_the_row_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, table(clicks=pa.array([[1, 0], [0], [7]])))
    assert cli.main(["train", "sort-gen", "--data", str(path), "--out", str(tmp_path / "run"), *SMALL]) == 2
    assert f"{path}: row 2, column clicks: must hold 0 or 1, not 7" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", ["no-train-lists", "nothing-shown"])
def test_training_warns_before_it_fails(code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = tmp_path / "lists.parquet", tmp_path / "run"
    records: Callable[[], object] = ODDITIES[code]
    write_lists(path, records(), {})  # type: ignore[arg-type]
    assert cli.main(["train", "sort-gen", "--data", str(path), "--out", str(run), *SMALL]) == 2
    assert capsys.readouterr().out.startswith("checked ")
    assert not run.exists()
