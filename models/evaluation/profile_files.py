"""Read profiles of experiments, sizes from TOML files, and changes of them."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

P = TypeVar("P")


def read_sizes(path: Path, known: Sequence[str]) -> dict[str, Any]:
    """Read the sizes that a profile's file names.

    `known` are the profiles that have a name. Raises `ValueError` for a file that is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"--profile: must be {', '.join(known)} or a TOML file, not {str(path)!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not TOML: {error}") from None


def parse_change(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``, the value as TOML; a bare word is a string.

    Raises `argparse.ArgumentTypeError`.
    """
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, not {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def convert_sizes(sizes: Mapping[str, Any], kind: type[P], origin: str) -> P:
    """Make a profile of `sizes`.

    Raises `ValueError` naming their `origin` and the size of a wrong type or value.
    """
    try:
        return msgspec.convert(sizes, kind)
    except msgspec.ValidationError as error:
        text, _, key = str(error).partition(" - at `$.")
        raise ValueError(": ".join(part for part in (origin, key.rstrip("`"), text) if part)) from None


def add_profile_options(parser: argparse.ArgumentParser, known: Sequence[str], *, default: str, examples: str) -> None:
    """Add ``--profile``, one of the `known` or a file, and ``--set``.

    `examples` of changes explain the latter.
    """
    text = f"sizes: {', '.join(known)}, or a TOML file (default: %(default)s)"
    parser.add_argument("--profile", default=default, metavar="NAME|FILE", help=text)
    text = f"change one size of the profile, such as {examples}; repeatable"
    parser.add_argument("--set", action="append", type=parse_change, default=[], metavar="KEY=VALUE", help=text)
