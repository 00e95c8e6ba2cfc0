"""Read a file of API keys; refuse faults by place, and never show a key."""

from __future__ import annotations

import math
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from service.access.key import KEY_NAME, MOST_KEYS, NO_KEY, ApiKey, KeysError, digest
from service.contract.refusals import locate

MOST_BYTES: Final = 64 * 1024
SHORTEST: Final = 16
LONGEST: Final = 256
"""Least and most characters of a key in a file."""

MOST_PER_SECOND: Final = 1_000_000
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH
_NOT_VISIBLE: Final = re.compile(r"[^!-~]")
_HEXADECIMAL: Final = re.compile(r"[0-9a-fA-F]{64}")
_PLACE: Final = re.compile(r"\(at [^()]*\)$")
_OF_NOTHING: Final = digest("")
_NAME_RULE: Final = "small letters, digits, hyphens and underscores only, at most 32, beginning with a letter or digit"


class _Entry(Struct, forbid_unknown_fields=True):
    """One table of the file."""

    name: str
    key: str | None = None
    sha256: str | None = None
    requests_per_second: Annotated[float, Meta(gt=0, le=MOST_PER_SECOND)] | None = None


def read_keys(path: Path, *, limits: bool = True) -> tuple[ApiKey, ...]:
    """Read a file of keys; `limits` says whether they may have one. Raises `KeysError`."""
    try:
        # A pipe would keep an ordinary open waiting for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            _check_kind(os.fstat(descriptor).st_mode)
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise KeysError(f"cannot be read: {error.strerror}") from None
    if len(text) > MOST_BYTES:
        raise KeysError(f"is larger than {MOST_BYTES} bytes")
    return parse_keys(text, limits=limits)


def parse_keys(text: bytes, *, limits: bool = True) -> tuple[ApiKey, ...]:
    """Parse the content of a file. Raises `KeysError`."""
    try:
        entries = [_read_entry(i, table, limits=limits) for i, table in enumerate(_tables(_read_toml(text)))]
    except RecursionError:
        raise KeysError("is nested too deeply") from None
    _check_distinct([key.name for key in entries], "name")
    _check_distinct([key.sha256 for key in entries], "key")
    return tuple(entries)


def _check_kind(mode: int) -> None:
    """Raise `KeysError` unless it is a file that only the right users can read."""
    if not stat.S_ISREG(mode):
        raise KeysError("is not a regular file")
    if os.name == "nt":  # There, modes say nothing about other users.
        return
    if mode & _OTHERS:
        can = "change" if mode & stat.S_IWOTH else "read"
    elif mode & stat.S_IWGRP:
        can = "change"
    else:
        return
    who = "every user" if mode & _OTHERS else "its group"
    raise KeysError(f"{who} can {can} it (mode {stat.S_IMODE(mode):04o}); mode 0600, 0400 or 0440 is needed")


def _read_toml(text: bytes) -> Mapping[str, Any]:
    """Parse TOML, and tell only the place of a fault.

    The parser's own words may hold a part of the file.
    """
    try:
        return tomllib.loads(text.decode())
    except ValueError as error:
        place = _PLACE.search(str(error))
        raise KeysError(f"is not valid TOML{'' if place is None else ' ' + place[0]}") from None


def _tables(document: Mapping[str, Any]) -> Sequence[Any]:
    tables = document.get("keys", [])
    if document.keys() - {"keys"} or not isinstance(tables, list):
        raise KeysError("must hold tables [[keys]], each with name and key or sha256, and nothing else")
    if not tables:  # A secret that came out empty must not open the service, nor close it by surprise.
        raise KeysError("holds no key")
    if len(tables) > MOST_KEYS:
        raise KeysError(f"keys: has {len(tables)} keys; at most {MOST_KEYS} are allowed")
    return tables


def _read_entry(index: int, table: object, *, limits: bool) -> ApiKey:
    where = f"keys[{index}]"
    try:
        entry = msgspec.convert(table, _Entry)
    except msgspec.ValidationError as error:
        path, problem = locate(str(error))
        if "unknown field" in str(error) or "not a known field" in problem:  # Its name may be a key out of place.
            allowed = ", ".join(_Entry.__struct_fields__)
            raise KeysError(f"{where}: has an entry that is none of {allowed}") from None
        raise KeysError(f"{where}.{path}: {problem}" if path else f"{where}: {problem}") from None
    _check_name(where, entry.name)
    where = f"{where} ({entry.name})"
    rate = entry.requests_per_second
    if rate is not None and not limits:
        raise KeysError(f"{where}: requests_per_second has no meaning for a key of the admin listener")
    if rate is not None and not math.isfinite(rate):
        raise KeysError(f"{where}: requests_per_second must be a finite number")
    if (entry.key is None) == (entry.sha256 is None):
        raise KeysError(f"{where}: needs either key or sha256")
    found = _digest_of(where, entry.key) if entry.key is not None else _checked_digest(where, entry.sha256 or "")
    return ApiKey(entry.name, found, rate)


def _check_name(where: str, name: str) -> None:
    if not re.fullmatch(KEY_NAME, name):  # It is not shown: it may be a key out of place.
        raise KeysError(f"{where}.name: is no name for a key: {_NAME_RULE}")
    if name == NO_KEY:
        raise KeysError(f"{where}.name: {name!r} is no name for a key: metrics use it for requests without one")


def _digest_of(where: str, key: str) -> str:
    if found := _NOT_VISIBLE.search(key):
        raise KeysError(
            f"{where}: character {found.start() + 1} of its key cannot be sent in a header: a key is visible ASCII "
            "without spaces"
        )
    if not SHORTEST <= len(key) <= LONGEST:
        raise KeysError(f"{where}: its key has {len(key)} characters; between {SHORTEST} and {LONGEST} are allowed")
    return digest(key)


def _checked_digest(where: str, value: str) -> str:
    if not _HEXADECIMAL.fullmatch(value):
        raise KeysError(f"{where}: sha256 must be 64 hexadecimal digits")
    if value.lower() == _OF_NOTHING:
        raise KeysError(f"{where}: sha256 is the digest of an empty key")
    return value.lower()


def _check_distinct(values: Sequence[str], what: str) -> None:
    """Raise `KeysError` if two keys have the same name, or the same secret."""
    first: dict[str, int] = {}
    for i, value in enumerate(values):
        if first.setdefault(value, i) != i:
            raise KeysError(f"keys[{i}]: has the same {what} as keys[{first[value]}]")
