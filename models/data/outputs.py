"""Refuse outputs that would destroy what is to be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from models.data.reading.stores import local_path


def require_other_output(option: str, output: Path | None, *sources: Path | str | None) -> None:
    """Refuse an output that is a source, or a file in one.

    Links are followed. A folder of part files may get no new files either, but hidden ones and those that begin with an
    underscore, which are no parts. What is None, or a URL of another machine, passes. Raises `ValueError` naming the
    option.
    """
    if output is None:
        return
    for source in sources:
        path = None if source is None else local_path(source)
        if path is not None and path.exists():
            _require_other(option, output, path)


def _require_other(option: str, output: Path, source: Path) -> None:
    if output.exists():
        written = output.stat()
        for path in _files(source):
            if os.path.samestat(written, path.stat()):
                done = "written into" if path.is_dir() else "replaced"
                raise ValueError(f"{option}: {path} is what is to be read, and would be {done}")
    elif _would_be_part(output, source):
        raise ValueError(f"{option}: {source} is what is to be read, and {output.name} would be a part of it")


def _would_be_part(output: Path, source: Path) -> bool:
    inside = source.is_dir() and output.parent.exists() and output.parent.samefile(source)
    return inside and not output.name.startswith((".", "_"))


def _files(source: Path) -> Iterator[Path]:
    """Yield a source, and the files in it if it is a folder."""
    yield source
    if source.is_dir():
        yield from (path for path in source.iterdir() if path.is_file())
