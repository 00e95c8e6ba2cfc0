"""Typical mistakes in a log of one's own are refused by file, line and column, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.cli import main
from tests.models.datasets.test_csv_log import simple_rows, write

FIELDS = ("--scores", "s", "--item-features", "f", "--user-features", "age", "--context-features", "device")


def rows() -> list[dict[str, Any]]:
    """Four lists of three items, the last of which was not shown; row 7 is item 1 of request r2, in line 9."""
    constant = {"purchase": 0, "gmv": 0, "s": 0.1, "device": "mobile"}
    found = [
        row | constant | {"price": 10 + i, "user": f"u{i // 3}", "time": i // 3, "f": i, "age": 20 + i // 3}
        for i, row in enumerate(simple_rows(4))
    ]
    for row in found[2::3]:
        row |= {"position": "", "click": "", "purchase": "", "gmv": ""}
    return found


PLACE = "must be a whole number of at least 0, or empty where the item was not shown"
LABEL = "must be 0 or 1 (true or false; 1 for any count above)"
AMOUNT = "must be a finite number of at least 0"

MISTAKES: list[tuple[int, str, str, str]] = [
    (7, "request", "", "is empty"),
    (7, "item", " ", "is empty"),
    (7, "item", "None", "'None' seems to stand for a missing id: say --missing None, or --text item"),
    (7, "request", r"\N", r"'\\N' seems to stand for a missing id: say --missing '\N', or"),
    (7, "user", "nan", "'nan' seems to stand for a missing id: say --missing nan, or --text user"),
    (7, "user", "1.23E+15", "'1.23E+15' has lost its last digits: write ids as text and not as"),
    (7, "item", "i0", "'i0' stands twice in request 'r2', also in line 8"),
    (7, "position", "first", PLACE),
    (7, "position", "1.5", PLACE),
    (7, "position", "-1", PLACE),
    (8, "position", "nan", f"{PLACE}, not 'nan'; if it stands for a missing value, say --missing nan"),
    (7, "position", "1", "'1' is the position of two items in request 'r2', also in line 8"),
    (7, "click", "2", LABEL),
    (7, "click", "yes", LABEL),
    (7, "click", "NaN", LABEL),
    (7, "click", r"\N", rf"{LABEL}, not '\\N'; if it stands for a missing value, say --missing '\N'"),
    (7, "click", "", "is empty, but the item was shown"),
    (8, "click", "1", "is 1, but the item was not shown: its position is empty"),
    (7, "purchase", "0.5", LABEL),
    (7, "purchase", "NULL", "is empty, but the item was shown"),
    (8, "purchase", "true", "is 1, but the item was not shown"),
    (7, "price", "cheap", f"{AMOUNT}, not 'cheap'"),
    (7, "price", "-3", f"{AMOUNT}, not '-3'"),
    (7, "price", "NaN", f"{AMOUNT}, not 'NaN'; if it stands for a"),
    (7, "price", "inf", AMOUNT),
    (7, "price", "1e999", AMOUNT),
    (7, "price", "12,50", f"{AMOUNT}, not '12,50'; if its comma is"),
    (7, "price", "1,234.50", f"{AMOUNT}, not '1,234.50'; write it without separators of thousands\n"),
    (7, "price", "1,234", f"{AMOUNT}, not '1,234'; write it without separators of thousands, or if its comma is"),
    (7, "price", "€ 12", AMOUNT),
    (7, "price", "1.234.567", AMOUNT),
    (7, "gmv", "-1", f"{AMOUNT}, not '-1'"),
    (8, "gmv", "5", "is 5, but the item was not shown"),
    (7, "s", "high", "must be a finite number, not 'high'"),
    (7, "s", "nan", "must be a finite number, not 'nan'; if it stands for a missing value, say"),
    (7, "user", "u9", "is 'u9', but 'u2' in line 8 of the same request 'r2'"),
    (7, "device", "desktop", "is 'desktop', but 'mobile' in line 8 of the same request 'r2'"),
    (7, "device", "", "is '', but 'mobile' in line 8 of the same request 'r2'"),
    (7, "age", "3", "is '3', but '22' in line 8 of the same request 'r2'"),
    (7, "time", "", "is empty"),
    (7, "time", "soon", "must be a time such as 2024-05-31 17:00:00 or a number, not 'soon'"),
]


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> str:
    """The message with which the conversion fails; nothing else is left."""
    before = sorted(p.name for p in tmp_path.iterdir())
    assert main(["data", "csv", str(path), *options, "-o", str(tmp_path / "lists.parquet"), "--quiet"]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    return capsys.readouterr().err


@pytest.mark.parametrize(("row", "column", "value", "problem"), MISTAKES)
def test_a_broken_cell_is_named_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: int, column: str, value: str, problem: str
) -> None:
    broken = rows()
    broken[row][column] = value
    path = write(tmp_path / "log.csv", broken)
    message = refused(tmp_path, capsys, path, *FIELDS)
    assert f"{path}: line {row + 2}, column {column}: {problem}" in message


def test_the_log_without_mistakes_is_converted(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", rows())
    assert main(["data", "csv", str(path), "-o", str(tmp_path / "lists.parquet"), "--quiet", *FIELDS]) == 0


@pytest.mark.parametrize("value", ["nan", "1.23E+15"])
def test_an_odd_id_is_kept_where_the_column_is_text(tmp_path: Path, value: str) -> None:
    path = write(tmp_path / "log.csv", [row | {"user": value} for row in rows()])
    lists = tmp_path / "lists.parquet"
    assert main(["data", "csv", str(path), "-o", str(lists), "--quiet", *FIELDS, "--text", "user"]) == 0


def test_gmv_of_a_bought_item_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = rows()
    broken[7] |= {"purchase": 1, "gmv": ""}
    message = refused(tmp_path, capsys, write(tmp_path / "log.csv", broken), *FIELDS)
    assert "line 9, column gmv: is empty, but the item was bought" in message


def test_a_split_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [row | {"split": "train"} for row in rows()]
    broken[7]["split"] = "dev"
    message = refused(tmp_path, capsys, write(tmp_path / "log.csv", broken), *FIELDS)
    assert "line 9, column split: must be one of train, valid, test, not 'dev'" in message
    broken[7]["split"] = "test"
    message = refused(tmp_path, capsys, write(tmp_path / "log.csv", broken), *FIELDS)
    assert "line 9, column split: is 'test', but 'train' in line 8 of the same request 'r2'" in message


def test_a_broken_cell_of_the_second_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write(tmp_path / "a.csv", rows()[:8]), write(tmp_path / "b.csv", rows()[7:])
    message = refused(tmp_path, capsys, first, str(second), *FIELDS)
    assert f"{second}: line 2, column item: 'i1' stands twice in request 'r2', also in line 9 of {first}" in message


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--map", "query=request"), "--map: there is no 'query'; the keys are request, item, position"),
        (("--map", "request"), "--map: must be name=column pairs with commas between them, not 'request'"),
        (("--map", "item=a,item=b"), "--map: 'item' is given twice"),
        (("--map", "request="), "--map: name the column of request, as in --map request=COLUMN"),
        (("--map", "item=sku"), "there is no column 'sku'; the columns are: request, item"),
        (("--map", "item=Item"), "there is no column 'Item'; is it 'item'?"),
        (("--map", "purchase=click"), "--map: click and purchase are both column 'click'"),
        (("--scores", "ctr=pctr"), "there is no column 'pctr'"),
        (("--scores", "s,s=f"), "--scores: 's' is given twice"),
        (("--item-features", "position"), "--item-features: column 'position' is the position and can be no feature"),
        (("--scores", "s,ctr=click"), "--scores: column 'click' is the click and can be no score"),
        (("--scores", "pos=position"), "--scores: column 'position' is the position and can be no score"),
        (("--user-features", "bought=click"), "--user-features: column 'click' is the click and can be no feature"),
        (("--text", "device"), "--text: column 'device' has no role and is no field"),
        (("--test", "1"), "--valid 0.1 and --test 1 must be at least 0 and leave something for train"),
        (("--valid", "-0.1"), "--valid -0.1 and --test 0.1 must be at least 0"),
        (("--valid", "nan"), "--valid nan and --test 0.1 must be at least 0"),
        (("--test", "nan"), "--valid 0.1 and --test nan must be at least 0"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], problem: str
) -> None:
    assert problem in refused(tmp_path, capsys, write(tmp_path / "log.csv", rows()), *options)


def test_a_log_without_names_for_request_and_item_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("query,sku,click\nq,s,1\n")
    message = refused(tmp_path, capsys, path)
    assert "name the column of request, as in --map request=COLUMN (there is no request, request_id" in message
    assert (
        main(["data", "csv", str(path), "--map", "request=query,item=sku", "-o", str(tmp_path / "l"), "--quiet"]) == 0
    )
