"""Order the versions of bundles and catalogues, which are names of folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from packaging.version import InvalidVersion, Version

FOLDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Names that a bundle's folder, or a version's, may have."""
FOLDER_NAME_RULE: Final = "1 to 128 letters, digits, '.', '_' or '-', the first a letter or digit"


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
