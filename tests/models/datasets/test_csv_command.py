"""The command `listwright data csv`: its options, and what it writes and deletes."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.cli import main
from models.data.list_file import read_lists, read_metadata
from models.data.records import Candidate
from tests.models.datasets.test_csv_log import convert, simple_rows, write


def test_a_log_is_written_in_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "log.csv", simple_rows(50))
    whole = convert(path)
    folder = tmp_path / "lists"
    command = ["data", "csv", str(path), "-o", str(folder), "--quiet", "--parts"]
    assert main([*command, "3"]) == 0
    assert [pq.read_metadata(file).num_rows for file in sorted(folder.iterdir())] == [16, 17, 17]
    assert list(read_lists(folder)) == whole
    assert read_metadata(folder)["source"] == "csv"
    assert main([*command, "51"]) == 2
    assert "50 lists do not fill 51 parts" in capsys.readouterr().err
    assert list(read_lists(folder)) == whole


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    names = {"request": "Such ID", "item": "Artikel-Nr.", "click": "Klick?", "price": "Preis, EUR", "f": "a=b"}
    path = write(tmp_path / "log.csv", [{"request": 1, "item": "x", "click": 1, "price": 2.5, "f": "ö"}])
    path.write_text(path.read_text("utf-8").replace(",".join(names), '"Such ID",Artikel-Nr.,Klick?,"Preis, EUR",a=b'))
    roles = ["--map", 'request=Such ID,item=Artikel-Nr.,click=Klick?, "price=Preis, EUR"']
    (record,) = convert(path, *roles, "--item-features", "f=a=b", "--test", "0", "--valid", "0")
    assert record.candidates == (Candidate("x", {}, 2.5, {"f": "ö"}),)


def test_the_log_is_never_replaced_by_its_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "log.csv", simple_rows(5))
    log = path.read_bytes()
    for source in (["csv", str(path)], ["trivago", "--path", str(path)]):
        assert main(["data", *source, "-o", str(tmp_path / "." / "log.csv"), "--quiet"]) == 2
        assert f"--output: {path} is what is to be read, and would be replaced" in capsys.readouterr().err
    assert path.read_bytes() == log


def test_lists_may_lie_in_a_folder_beside_their_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lists").mkdir()
    out = tmp_path / "lists" / "lists.parquet"
    for _ in range(2):  # The second time they are there.
        assert main(["data", "movielens", "--path", str(tmp_path), "-o", str(out), "--quiet"]) == 2
        assert "--output" not in capsys.readouterr().err  # It is the ratings that are missing.
        out.touch()


def test_what_was_begun_is_deleted_on_sigterm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "log.csv", simple_rows(5))
    began, before = list[str](), signal.getsignal(signal.SIGTERM)

    def stopped(*_: Any, **__: Any) -> None:
        began.extend(entry.name for entry in tmp_path.iterdir() if entry.name.endswith(".parts"))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("models.datasets.csv_log.convert.choose_sides", stopped)
    with pytest.raises(SystemExit) as caught:
        convert(path)
    assert caught.value.code == 128 + signal.SIGTERM
    assert began
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.csv"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_options_without_a_default_show_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "csv", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "(default: 0.1)" in shown
    assert not re.search(r"\(default: (None|False|\[.*?\])?\)", shown)
