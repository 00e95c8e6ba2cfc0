"""Declare the options of CSV files, and of ``listwright data csv``."""

from __future__ import annotations

import argparse
import codecs
import sys
from pathlib import Path
from typing import Final

from models.datasets.csv.form import DELIMITERS, CsvChoices
from models.datasets.csv_log.columns import ROLES, Fields, parse_pairs
from models.datasets.csv_log.convert import CsvLog, LogOptions
from models.datasets.csv_log.sides import Shares

_OF_NO_FILES: Final = ("idna", "punycode", "undefined")
"""Encodings of host names, and the one that always fails."""
_GROUPS: Final = {
    "scores": "scores of the ranking stage, such as ctr=pctr,cvr",
    "item_features": "features of the item in this request",
    "user_features": "features of the user, the same in all rows of a request",
    "context_features": "features of the request, the same in all its rows",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``listwright data csv``."""
    parser.description = (
        "Convert a log with one row per request and item. Rows of a request need not be adjacent, and the log may be "
        "larger than memory. Columns that are not named are ignored, and listed."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV with a header, plain or compressed")
    text = (
        f"columns of the log by role: {', '.join(ROLES)}; an empty position: proposed but not shown; a user's or "
        "session's lists stay in one split; a column named like its role (request_id, position, …) needs no mapping, "
        'and role= gives it none; a pair with a comma in it stands in double quotes ("price=Price, EUR")'
    )
    parser.add_argument("--map", default="", metavar="ROLE=COLUMN,…", help=text)
    for name, text in _GROUPS.items():
        text += "; name=COLUMN gives another name"
        parser.add_argument(f"--{name.replace('_', '-')}", default="", metavar="COLUMN,…", help=text)
    text = "columns that stay text, though every cell is a number: codes (007 stays text by itself)"
    parser.add_argument("--text", default="", metavar="COLUMN,…", help=text)
    text = "a word that stands for an empty cell, as NULL always does; may be given again"
    parser.add_argument("--missing", action="append", default=[], metavar="WORD", help=text)
    for side, text in (("valid", "before the test lists"), ("test", "at the end of the log")):
        text = f"share of lists for {side}: {text}, or by hash of the user where there is no time"
        parser.add_argument(f"--{side}", type=float, default=0.1, metavar="SHARE", help=text)
    add_form_options(parser)


def add_form_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about the form of CSV files."""
    text = "of the columns, a character or one of " + ", ".join(DELIMITERS) + " (default: read from the header)"
    parser.add_argument("--delimiter", type=_delimiter, default=argparse.SUPPRESS, metavar="CHARACTER", help=text)
    text = "of the text, such as latin-1 (default: UTF-8, or as the file's first bytes say)"
    parser.add_argument("--encoding", type=_encoding, default=argparse.SUPPRESS, metavar="NAME", help=text)
    parser.add_argument("--decimal", choices=(".", ","), default=".", help="decimal point of numbers")


def form_of(arguments: argparse.Namespace) -> CsvChoices:
    """Return the choices about the form."""
    return CsvChoices(getattr(arguments, "delimiter", None), getattr(arguments, "encoding", None), arguments.decimal)


def convert(arguments: argparse.Namespace) -> int:
    """Convert the log and print what was read, ignored and written."""
    log = CsvLog(arguments.files, _options(arguments))
    try:
        tally = log.convert(arguments.output, parts=arguments.parts, quiet=arguments.quiet)
    finally:
        for warning in log.told.warnings:
            print(f"warning: {warning}", file=sys.stderr)
    print("\n".join([*log.told.facts, str(arguments.output), tally.text()]))
    return 0


def _options(arguments: argparse.Namespace) -> LogOptions:
    groups = {name: parse_pairs(f"--{name.replace('_', '-')}", getattr(arguments, name), bare=True) for name in _GROUPS}
    return LogOptions(
        roles=parse_pairs("--map", arguments.map, bare=False),
        fields=Fields(*groups.values()),
        text=frozenset(parse_pairs("--text", arguments.text, bare=True)),
        missing=("NULL", *arguments.missing),
        form=form_of(arguments),
        shares=Shares(arguments.valid, arguments.test),
        seed=arguments.seed,
    )


def _delimiter(text: str) -> str:
    character = DELIMITERS.get(text, "\t" if text == "\\t" else text)
    if len(character) != 1 or character in '"\r\n':
        raise argparse.ArgumentTypeError(f"must be one character or one of {', '.join(DELIMITERS)}, not {text!r}")
    return character


def _encoding(text: str) -> str:
    try:
        name = codecs.lookup(text).name
        "".encode(name)  # Python's codecs of bytes, such as hex, and of text to text fail here.
    except LookupError:
        raise argparse.ArgumentTypeError(f"{text!r} is no encoding of text that Python knows") from None
    if name in _OF_NO_FILES:
        raise argparse.ArgumentTypeError(f"{text!r} is no encoding of files")
    return name
