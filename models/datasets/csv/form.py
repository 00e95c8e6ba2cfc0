"""Detect the form of a CSV file: compression, encoding, delimiter and header.

Compression and Unicode encodings are read from the file's first bytes, never from its name. The delimiter is the one
that splits the header into most columns.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa

Decimal = Literal[".", ","]

DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Delimiters that are detected, by the names that messages and options use."""

_NAMED_DELIMITER: Final = re.compile(r'(?i)"?sep=(.)"?')
"""A line before the header that tells Excel the delimiter."""

_HEAD: Final = 1 << 20
_LONGEST_NAME: Final = 60
_COMPRESSIONS: Final = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_OTHERS: Final = {
    b"PAR1": (
        "a Parquet file, not CSV: a file of lists needs no conversion (`listwright data check` says what is in it), "
        "and a table of one row per item is to be written as CSV first (pyarrow.csv.write_csv)"
    ),
    b"PK\x03\x04": "a zip archive or an Excel workbook, not CSV: unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook, not CSV: save the sheet as CSV",
    b"ARROW1": "an Arrow file, not CSV",
    b"7z\xbc\xaf": "a 7-Zip archive, not CSV: unpack it",
    b"\xfd7zXZ": "an xz archive, not CSV: unpack it",
}


class TableError(ValueError):
    """Report a source file that cannot be used, by file, line and column."""


@dataclass(frozen=True, slots=True)
class CsvChoices:
    """Hold what the user says about the form of CSV files; None is detected."""

    delimiter: str | None = None
    encoding: str | None = None
    decimal: Decimal = "."


@dataclass(frozen=True, slots=True)
class CsvForm:
    """Hold the form of one CSV file.

    `header` are its names without blanks, on the first `header_lines` lines.
    """

    path: Path
    compression: str | None
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    header_lines: int

    def text(self) -> str:
        """Describe the form for the terminal."""
        names = {character: name for name, character in DELIMITERS.items()}
        packed = f", {self.compression}" if self.compression else ""
        return f"{names.get(self.delimiter, repr(self.delimiter))} between columns, {self.encoding}{packed}"


def detect_form(path: Path, choices: CsvChoices) -> CsvForm:
    """Detect the form of a file from its beginning. Raises `TableError` and `OSError`."""
    if path.is_dir():
        raise TableError(f"{path}: is a folder: name its files, as in {path / '*.csv'}")
    with path.open("rb") as file:
        start = file.read(8)
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise TableError(f"{path}: is {what}")
    compression = next((name for magic, name in _COMPRESSIONS.items() if start.startswith(magic)), None)
    with open_bytes(path, compression) as stream:
        head = stream.read(_HEAD)
    encoding = _encoding(path, head, choices.encoding)
    lines = head.decode(encoding, "replace").removeprefix("\ufeff").splitlines(keepends=True)
    blank = next((i for i, line in enumerate(lines) if line.strip()), None)
    if blank is None:
        raise TableError(f"{path}: is empty: there is no header with the names of the columns")
    if lines[blank].lstrip().startswith(("{", "[")):
        raise TableError(f"{path}: line {blank + 1}: looks like JSON, not like the header of a CSV file")
    named = _NAMED_DELIMITER.fullmatch(lines[blank].rstrip("\r\n"))
    if named and blank + 1 < len(lines):
        blank += 1
    try:
        delimiter = choices.delimiter or (named[1] if named else _delimiter(lines[blank]))
        reader = csv.reader(lines[blank:], delimiter=delimiter)
        header = tuple(name.strip() for name in next(reader))
    except csv.Error as error:
        doubt = f"is it text in {encoding}, and is every quote closed?"
        raise TableError(f"{path}: line {blank + 1}: cannot be read as the header; {doubt} ({error})") from error
    if any("\ufffd" in name for name in header):
        raise undecodable(path, blank + 1, encoding)
    return CsvForm(path, compression, encoding, delimiter, header, blank + reader.line_num)


@contextmanager
def open_bytes(path: Path, compression: str | None) -> Iterator[pa.NativeFile]:
    """Open a file as a stream of unpacked bytes."""
    with pa.OSFile(str(path)) as file:
        if compression is None:
            yield file
        else:
            with pa.CompressedInputStream(file, compression) as stream:
                yield stream


@contextmanager
def open_text(form: CsvForm) -> Iterator[io.TextIOWrapper]:
    """Open a file as lines of text; bytes that are no text become surrogates."""
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    with open_bytes(form.path, form.compression) as stream:
        yield io.TextIOWrapper(io.BufferedReader(stream), encoding, "surrogateescape", newline="")


def shortened(name: str) -> str:
    """Cut a column's name for a message.

    Read in a wrong encoding, one may be as long as its file.
    """
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def undecodable(path: Path, line: int, encoding: str) -> TableError:
    """Make an error about a line that does not decode."""
    return TableError(
        f"{path}: line {line}: is not text in {encoding}; name the file's encoding, such as --encoding latin-1"
    )


def _encoding(path: Path, head: bytes, chosen: str | None) -> str:
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if chosen is None or (marked == "utf-8" and codecs.lookup(chosen).name.startswith("utf-8")):
        encoding = marked or "utf-8"
    else:
        encoding = codecs.lookup(chosen).name
    if encoding == "utf-8" and b"\0" in head:
        raise TableError(f"{path}: holds zero bytes, so it is no UTF-8; for UTF-16 say --encoding utf-16-le")
    return encoding


def _delimiter(header: str) -> str:
    """Choose the delimiter that gives the header most columns, the first on a tie."""
    return max(DELIMITERS.values(), key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter))))
