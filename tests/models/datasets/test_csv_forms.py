"""Every form in which tools write CSV is read alike: by an adapter of a public log and by `listwright data csv`."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from pathlib import Path
from typing import Literal

import pytest

from models.cli import main
from models.data.list_file import read_lists
from models.data.records import ListRecord
from models.datasets.csv.form import CsvChoices, TableError
from models.datasets.csv.reading import CsvFile
from tests.models.datasets.test_hotels import Rows, trivago_lists, trivago_rows

MAP = "request=list_id,item=item_id,click=clickouts,user=user_id"


def text(rows: Rows, end: str = "\r\n", *, delimiter: str = ",", quoting: Literal[0, 1] = csv.QUOTE_MINIMAL) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator=end, delimiter=delimiter, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


ROWS = [{**row, "clickouts": str(min(int(row["clickouts"]), 1))} for row in trivago_rows()]
PLAIN = text(ROWS)


def altered(delimiter: str = ",", **columns: str) -> str:
    """The rows with text after each cell of some columns."""
    return text([{k: v + columns.get(k, "") for k, v in row.items()} for row in ROWS], delimiter=delimiter)


FORMS: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "line feeds": ("a.csv", text(ROWS, "\n").encode(), ()),
    "carriage returns": ("a.csv", text(ROWS, "\r").encode(), ()),
    "byte order mark": ("a.csv", PLAIN.encode("utf-8-sig"), ()),
    "blank last line": ("a.csv", (PLAIN + "\r\n").encode(), ()),
    "blank last lines with blanks": ("a.csv", (PLAIN + "\r\n  \r\n\t\r\n").encode(), ()),
    "no last line end": ("a.csv", PLAIN.rstrip().encode(), ()),
    "blank lines before the header": ("a.csv", ("\r\n \r\n" + PLAIN).encode(), ()),
    "blank line between rows": ("a.csv", PLAIN.replace("\r\n1,", "\r\n\r\n1,", 1).encode(), ()),
    "blanks around names": ("a.csv", PLAIN.replace(",user_id,", ", user_id ,", 1).encode(), ()),
    "blanks around cells": ("a.csv", altered(item_id=" ", price="  ", list_id=" ").encode(), ()),
    "all quoted": ("a.csv", text(ROWS, quoting=csv.QUOTE_ALL).encode(), ()),
    "semicolons": ("a.csv", text(ROWS, delimiter=";").encode(), ()),
    "tabs": ("a.tsv", text(ROWS, delimiter="\t").encode(), ()),
    "a line that names the delimiter": ("a.csv", ("sep=;\r\n" + text(ROWS, delimiter=";")).encode(), ()),
    "pipes": ("a.csv", text(ROWS, delimiter="|").encode(), ()),
    "backslashes before quotes": (
        "a.csv", text([{**row, "city": "A\\"} for row in ROWS], quoting=csv.QUOTE_ALL).encode(), ()
    ),
    "another delimiter": ("a.csv", text(ROWS, delimiter="~").encode(), ("--delimiter", "~")),
    "named delimiter": ("a.csv", text(ROWS, delimiter="\t").encode(), ("--delimiter", "tab")),
    "gzip": ("a.csv.gz", gzip.compress(PLAIN.encode()), ()),
    "gzip named csv": ("a.csv", gzip.compress(PLAIN.encode()), ()),
    "csv named gzip": ("a.csv.gz", PLAIN.encode(), ()),
    "gzip in two members": ("a.csv.gz", gzip.compress(PLAIN[:999].encode()) + gzip.compress(PLAIN[999:].encode()), ()),
    "bzip2": ("a.csv", bz2.compress(PLAIN.encode()), ()),
    "UTF-16": ("a.csv", PLAIN.encode("utf-16"), ()),
    "UTF-16 packed": ("a.csv.gz", gzip.compress(PLAIN.encode("utf-16")), ()),
    "UTF-16 without mark": ("a.csv", PLAIN.encode("utf-16-le"), ("--encoding", "utf-16-le")),
    "whole numbers as floats": ("a.csv", altered(position=".0", clickouts=".0").encode(), ()),
    "ids as floats": ("a.csv", altered(item_id=".0", list_id=".0", price=".0").encode(), ()),
    "decimal commas": ("a.csv", altered(price=",00").encode(), ("--decimal", ",")),
    "semicolons and decimal commas": ("a.csv", altered(";", price=",0").encode(), ("--decimal", ",")),
    "further columns": ("a.csv", PLAIN.replace("\r\n", ",x\r\n").encode(), ()),
}  # fmt: skip


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ListRecord], list[ListRecord]]:
    """What the plain file holds, through the adapter and through `listwright data csv`."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "plain.csv").write_bytes(PLAIN.encode())
    assert main(["data", "csv", str(folder / "plain.csv"), "--map", MAP, "--quiet", "-o", str(folder / "l")]) == 0
    return trivago_lists(folder / "plain.csv"), list(read_lists(folder / "l"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_alike(
    tmp_path: Path, expected: tuple[list[ListRecord], list[ListRecord]], form: str
) -> None:
    name, data, options = FORMS[form]
    path = tmp_path / name
    path.write_bytes(data)
    own = ["data", "csv", str(path), "--map", MAP, "-o", str(tmp_path / "own"), "--quiet", *options]
    assert main(own) == 0
    assert list(read_lists(tmp_path / "own")) == expected[1]


@pytest.mark.parametrize("form", ["blank last line", "semicolons", "UTF-16 packed", "ids as floats", "decimal commas"])
def test_the_adapters_of_public_logs_read_the_forms_too(
    tmp_path: Path, expected: tuple[list[ListRecord], list[ListRecord]], form: str
) -> None:
    name, data, options = FORMS[form]
    path = tmp_path / name
    path.write_bytes(data)
    adapter = ["data", "trivago", "--path", str(path), "--fold", "1", "--folds", "4", "--seed", "3", "--quiet"]
    assert main([*adapter, "-o", str(tmp_path / "lists"), *options]) == 0
    assert list(read_lists(tmp_path / "lists")) == expected[0]


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty: there is no header"),
    "blank": (b"\n \n", "is empty: there is no header"),
    "header only": (b"a,b\r\n", "holds no rows, only a header"),
    "a name twice": (b"a,b,a\n1,2,3\n", "column 'a' stands twice in the header, as columns 1 and 3"),
    "too few cells": (b"a,b\n1,2\n\n3\n", "line 4: has 1 columns, but the header has 2"),
    "too many cells": (b'a,b\n"1\n1",2\n3,4,5\n', "line 4: has 3 columns, but the header has 2"),
    "latin-1": ("a,b\n1,2\n3,é\n".encode("latin-1"), "line 3: is not text in utf-8; name the file's encoding"),
    "latin-1 in the header": ("a,b,é\n1,2,3\n".encode("latin-1"), "line 1: is not text in utf-8"),
    "UTF-16 without mark": ("a,b\n1,2\n".encode("utf-16-le"), "say --encoding utf-16-le"),
    "odd UTF-16": ("a,b\n1,2\n".encode("utf-16") + b"\0", "is not text in utf-16"),
    "open quote": (b'a,b\n1,2\n3,"4\n5,6\n', "line 3: cannot be read from here; is a quote never closed?"),
    "open quote further left": (b'a,b\n1,2\n"3,4\n5,6\n', "line 3"),
    "quotes behind backslashes": (b'a,b\n1,2\n"3\\" x",4\n"5\\" x",6\n', "line 3: cannot be read from here"),
    "a last quote behind a backslash": (
        b'a,b\n1,2\n"3\\"",4\n"5\\"",6\n',
        "A quote within quotes is doubled",
    ),
    "only a line that names the delimiter": (b"sep=;\r\n", "there is no column 'a'"),
    "Parquet": (b"PAR1\x15\x04", "is a Parquet file, not CSV"),
    "Excel": (b"PK\x03\x04....", "is a zip archive or an Excel workbook"),
    "JSON": (b'{"a": 1, "b": 2}\n', "line 1: looks like JSON"),
    "half an archive": (gzip.compress(b"a,b\n1,2\n" * 9)[:-12], "cannot be read"),
    "another case": (b"A,b\n1,2\n", "there is no column 'a'; is it 'A'?"),
    "another name": (b"x,y\n1,2\n", "there is no column 'a'; the columns are: x, y"),
    "another delimiter": (b"a~b\n1~2\n", "there is no column 'a'; the columns are: a~b (one column only: name the"),
}


@pytest.mark.parametrize("form", BROKEN)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, form: str) -> None:
    data, problem = BROKEN[form]
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(TableError) as caught:
        list(CsvFile(path).blocks(["a", "b"]))
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("form", BROKEN)
def test_nothing_is_written_of_a_file_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    data, problem = BROKEN[form]
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    command = ["data", "csv", str(path), "--map", "request=a,item=b", "--quiet", "-o", str(tmp_path / "lists")]
    assert main(command) == 2
    message = capsys.readouterr().err
    assert f"{path}: " in message
    assert problem in message
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.csv"]


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"is a folder: name its files, as in .*\*\.csv"):
        CsvFile(tmp_path)


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("größe,b\n1,é\n".encode("latin-1"))
    (block,) = CsvFile(path, CsvChoices(encoding="latin-1")).blocks(["größe", "b"])
    assert block.to_pydict() == {"0": ["1"], "1": ["é"]}


@pytest.mark.parametrize("encoding", ["utf-16-le", "cp037"])
def test_a_wrong_encoding_does_not_print_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    command = ["data", "csv", str(tmp_path / "x.csv"), "-o", str(tmp_path / "y.parquet"), "--encoding", encoding]
    for rows, problem in (
        (2000, "the columns are: "),
        (60_000, "line 1: cannot be read as the header; is it text in "),
    ):
        (tmp_path / "x.csv").write_text("request;items\n" + "r1;i1\n" * rows, "utf-8")
        assert main([*command, "--map", "request=query,item=sku", "--quiet"]) == 2
        told = capsys.readouterr().err
        assert problem in told
        assert len(told) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_a_line_is_counted_as_an_editor_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'\n"a\nb",c\n"1\r\n2",3\n\n4,5\n')
    file = CsvFile(path)
    assert [file.line(0), file.line(1)] == [4, 7]
    assert "line 7, column c: is odd" in str(file.error(1, "c", "is odd"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--delimiter", "ab"), "must be one character"),
        (("--delimiter", '"'), "must be one character"),
        (("--encoding", "klingon"), "'klingon' is no encoding"),
        (("--encoding", "hex"), "'hex' is no encoding of text"),
        (("--encoding", "rot13"), "'rot13' is no encoding of text"),
        (("--encoding", "idna"), "'idna' is no encoding of files"),
        (("--encoding", "punycode"), "'punycode' is no encoding of files"),
        (("--decimal", ";"), "invalid choice"),
    ],
)
def test_a_form_that_does_not_exist_is_refused(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(SystemExit):
        main(["data", "csv", "x.csv", "-o", "y", *options])
    assert problem in capsys.readouterr().err


def test_a_decimal_comma_is_never_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.csv"
    path.write_text(altered(price=",5"))
    for source in (["csv", str(path), "--map", MAP], ["trivago", "--path", str(path)]):
        assert main(["data", *source, "-o", str(tmp_path / "out"), "--quiet"]) == 2
        message = capsys.readouterr().err
        assert f"{path}: line 2, column price: must be a" in message
        assert "if its comma is the decimal point, say --decimal ," in message
