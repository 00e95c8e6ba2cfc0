"""No command writes over what it reads, or into a folder of part files that it reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models import cli
from models.data.list_writer import write_lists
from models.data.outputs import require_other_output
from tests.models.checking.oddities import clean

COMMANDS = {
    "data check": ["data", "check", "LISTS", "--json", "OUT"],
    "data items": ["data", "items", "LISTS", "-o", "OUT"],
    "data simulator": ["data", "simulator", "--items-from", "LISTS", "--category-feature", "c", "-o", "OUT"],
    "rerank": ["rerank", "--in", "LISTS", "--out", "OUT", "--url", "http://127.0.0.1:9"],
    "logs": ["evaluate", "logs", "--data", "LISTS", "--json", "OUT", "--url", "http://127.0.0.1:9"],
    "randomised": ["evaluate", "randomised", "--data", "LISTS", "--checkpoint", "none.pt", "--json", "OUT"],
    "simulator": [
        *("evaluate", "simulator", "--data", "LISTS", "--checkpoint", "none.pt", "--length", "2", "--json", "OUT")
    ],
    "rules": ["evaluate", "rules", "--data", "LISTS", "--checkpoint", "none.pt", "--length", "2", "--json", "OUT"],
    "mine": ["mine", "--data", "LISTS", "--evaluator", "none.pt", "--out", "OUT"],
    "train": ["train", "sort-gen", "--data", "LISTS", "--out", "OUT"],
}


def file_itself(lists: Path) -> tuple[Path, Path]:
    return lists, lists.parent / "." / lists.name


def linked(lists: Path) -> tuple[Path, Path]:
    link = lists.with_name("link.parquet")
    link.symlink_to(lists)
    return link, lists


def hard_linked(lists: Path) -> tuple[Path, Path]:
    link = lists.with_name("hard.parquet")
    os.link(lists, link)
    return lists, link


def by_url(lists: Path) -> tuple[Path | str, Path]:
    return f"file://{lists}", lists


def part_of_folder(lists: Path) -> tuple[Path, Path]:
    folder = lists.with_name("parts")
    folder.mkdir()
    return folder, lists.rename(folder / "part-00000.parquet")


def new_in_folder(lists: Path) -> tuple[Path, Path]:
    folder, part = part_of_folder(lists)
    return folder, part.with_name("part-00001.parquet")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    path = tmp_path / "lists.parquet"
    write_lists(path, clean()[:4], {})
    return path


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("places", [file_itself, linked, hard_linked, by_url, part_of_folder, new_in_folder])
def test_no_command_writes_where_it_reads(
    command: list[str],
    places: Callable[[Path], tuple[Path | str, Path]],
    lists: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, output = places(lists)
    before = contents(lists.parent)
    given = {"LISTS": str(source), "OUT": str(output)}
    assert cli.main([given.get(word, word) for word in command]) == 2
    printed = capsys.readouterr()
    assert "is what is to be read, and" in printed.err
    option = command[command.index("OUT") - 1]
    assert {"-o": "--output"}.get(option, option) + ": " in printed.err
    assert not printed.out
    assert contents(lists.parent) == before


def test_a_page_does_not_replace_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "report.json").write_text("{}")
    assert cli.main(["report", str(run), "-o", str(run / "report.json")]) == 2
    assert "is what is to be read, and would be replaced" in capsys.readouterr().err
    assert (run / "report.json").read_text() == "{}"


def test_parts_do_not_replace_the_folder_that_their_source_lies_in(
    lists: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, part = part_of_folder(lists)
    before = contents(part.parent)
    source = ["--items-from", str(part), "--category-feature", "c"]
    assert cli.main(["data", "simulator", *source, "-o", str(part.parent), "--parts", "2", "--quiet"]) == 2
    assert "--output: " in capsys.readouterr().err
    assert contents(part.parent) == before


def test_a_list_file_beside_the_files_that_it_is_made_from_may_be_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ratings.dat").write_text("no ratings\n")
    (tmp_path / "lists.parquet").write_text("of before\n")
    for name, refused in (("lists.parquet", False), ("new.parquet", False), ("ratings.dat", True)):
        assert cli.main(["data", "movielens", "--path", str(tmp_path), "-o", str(tmp_path / name), "--quiet"]) == 2
        assert ("is what is to be read" in capsys.readouterr().err) == refused


@pytest.mark.parametrize("name", ["_report.json", ".report.json"])
def test_files_that_are_no_parts_may_lie_beside_parts(lists: Path, name: str) -> None:
    folder, _ = part_of_folder(lists)
    require_other_output("--json", folder / name, folder)


def test_what_is_not_there_or_elsewhere_is_no_input(tmp_path: Path) -> None:
    require_other_output("--json", None, tmp_path)
    require_other_output("--json", tmp_path / "report.json", None, tmp_path / "none", "s3://bucket/lists")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
