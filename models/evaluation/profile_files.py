"""Read profiles of experiments: sizes from TOML files, and changes of them."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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
