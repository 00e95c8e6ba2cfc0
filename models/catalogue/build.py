"""Build a catalogue from items, update one, and compact one.

Each makes a new version beside the others; nothing that is there is changed.
"""

from __future__ import annotations

from pathlib import Path

from models.contract.spec import FeatureSpec


def build_catalogue(items: Path, spec: FeatureSpec, root: Path, *, version: str | None = None) -> Path:
    """Build a version from the Parquet file `items`, or a catalogue's folder, and return its folder.

    Its version is the next number if none is given. Raises `CatalogueError` naming row and column of what is wrong.
    """
    raise NotImplementedError


def update_catalogue(delta: Path, spec: FeatureSpec, root: Path, *, version: str | None = None) -> Path:
    """Add the items of `delta` to the newest version as a new one, and return its folder.

    Where the column ``deleted`` is true the item is gone. Raises `CatalogueError`.
    """
    raise NotImplementedError


def compact_catalogue(spec: FeatureSpec, root: Path, *, version: str | None = None) -> Path:
    """Merge the segments of the newest version to one, as a new version, and return its folder."""
    raise NotImplementedError
