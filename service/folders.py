"""Look into folders of folders, whose names are those of models or versions.

What cannot be read is named as a problem and left out; it hides nothing else. Names that begin with a dot are left out
without a word, so that an upload can have such a name until it is whole.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Final

from packaging.version import InvalidVersion, Version

PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def in_order(names: Sequence[str]) -> list[str]:
    """Sort version names, oldest first.

    By PEP 440 if every name is a version by its rules, so that ``1.0.0-rc1`` comes before ``1.0.0``. Else, and between
    names that mean the same version there, in natural order (10 after 9).
    """
    try:
        return sorted(names, key=lambda name: (Version(name), _natural(name)))
    except InvalidVersion:
        return sorted(names, key=_natural)


def _natural(version: str) -> tuple[list[tuple[int, str]], str]:
    """Make a sort key under which numbers inside a name compare as numbers."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", version)], version


def named_folders(root: Path, problems: list[str], *, but: Container[str] = ()) -> list[Path]:
    """List the folders in `root` without those `but`; add what was left out to `problems`."""
    try:
        found = sorted(root.iterdir(), key=lambda path: path.name)
    except OSError as error:
        problems.append(_problem(root, error))
        return []
    visible = [path for path in found if not path.name.startswith(".") and path.name not in but]
    return [path for path in visible if _without_fault(_is_named_folder, path, problems)]


def versions_in(folder: Path, file: str, problems: list[str]) -> list[str]:
    """List the folders with this file, oldest version first; add what was left out."""
    found = named_folders(folder, problems)
    return in_order([path.name for path in found if _without_fault(lambda path: has_file(path, file), path, problems)])


def has_file(folder: Path, file: str) -> bool:
    """Tell whether a folder holds this file. Raises `OSError` if that cannot be found out."""
    try:
        return stat.S_ISREG((folder / file).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _without_fault(holds: Callable[[Path], bool], path: Path, problems: list[str]) -> bool:
    """Tell whether `holds(path)`; if it cannot be read, add that to `problems`."""
    try:
        return holds(path)
    except OSError as error:
        problems.append(_problem(path, error))
        return False


def _is_named_folder(path: Path) -> bool:
    """Return True for a folder with a plain name. Raises `OSError` for anything else."""
    if not PLAIN_NAME.fullmatch(path.name):
        raise OSError(errno.EINVAL, "its name is not plain: letters, digits, '.', '_' and '-' only, at most 128")
    if not stat.S_ISDIR(path.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return True


def _problem(path: Path, error: OSError) -> str:
    """Name a path, in printable characters, and what is wrong with it."""
    return f"{str(path)!r}: {error.strerror}"
