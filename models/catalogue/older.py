"""Look up hashes in the segments of a catalogue, to see what an update replaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.contract.arrays import Bools
from models.contract.catalogue.lookup import Hashes
from models.contract.catalogue.manifest import CatalogueError, CatalogueManifest, SegmentEntry


def live_and_shared(folder: Path, manifest: CatalogueManifest, wanted: Hashes) -> tuple[Bools, Bools]:
    """Tell which hashes [k] a catalogue finds, and which its segments have at all."""
    live, shared = np.zeros(len(wanted), bool), np.zeros(len(wanted), bool)
    for hashes, deleted in _newest_first(folder, manifest):
        rows = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
        found = hashes[rows] == wanted
        fresh = found & ~shared
        live[fresh] = True if deleted is None else ~deleted[rows[fresh]]
        shared |= found
    return live, shared


def _newest_first(folder: Path, manifest: CatalogueManifest) -> Iterator[tuple[Hashes, Bools | None]]:
    for entry in reversed(manifest.segments):
        yield _mapped(folder, entry, "hashes.npy"), _mapped(folder, entry, "deleted.npy") if entry.deleted else None


def _mapped(folder: Path, entry: SegmentEntry, name: str) -> Any:
    path = folder / entry.name / name
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path}: cannot be read: {error}") from error
    if found.shape != (entry.rows,):
        raise CatalogueError(f"{path}: has shape {found.shape}, not ({entry.rows},)")
    return found
