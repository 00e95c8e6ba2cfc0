"""Look into folders of folders, whose names are those of models or versions.

What cannot be read is named as a problem and left out; it hides nothing else. Names that begin with a dot are left out
without a word, so that an upload can have such a name until it is whole.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Container
from pathlib import Path

from models.contract.versions import FOLDER_NAME, in_order


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
    """Tell whether a folder holds this file.

    Raises `OSError` if that cannot be found out, or if there is but a link to nothing.
    """
    try:
        return stat.S_ISREG((folder / file).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        if (folder / file).is_symlink():
            raise OSError(errno.ENOLINK, f"{file} is a link to a file that is not there") from None
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
    if not FOLDER_NAME.fullmatch(path.name):
        raise OSError(errno.EINVAL, "its name is not plain: letters, digits, '.', '_' and '-' only, at most 128")
    if not stat.S_ISDIR(path.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return True


def _problem(path: Path, error: OSError) -> str:
    """Name a path, in printable characters, and what is wrong with it."""
    return f"{str(path)!r}: {error.strerror}"
