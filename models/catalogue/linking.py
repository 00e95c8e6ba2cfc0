"""Take the segments of an older version over into a new one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.contract.arrays import Arrays
from models.contract.catalogue.manifest import CatalogueField, SegmentEntry
from models.files import file_digest


def link_segment(source: Path, target: Path, entry: SegmentEntry, fields: Sequence[CatalogueField]) -> SegmentEntry:
    """Give a segment a second folder, and the files of fields that have come since.

    Nothing is known of those. The other files are links to the same content, or copies where links do not work.
    """
    target.mkdir()
    for name in entry.files:
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copy2(source / name, target / name)
    files = dict(entry.files)
    for k, field in enumerate(fields):
        if f"values-{k}.npy" not in files:
            for name, values in _missing(k, field, entry.rows).items():
                np.save(target / name, values, allow_pickle=False)
                files[name] = file_digest(target / name)
    return replace(entry, files=files)


def _missing(k: int, field: CatalogueField, n: int) -> Arrays:
    """Return the arrays of field k of n items of which none has a value."""
    if field.kind == "number":
        return {f"values-{k}.npy": np.full(n, np.nan)}
    if field.kind == "flag":
        return {f"values-{k}.npy": np.full(n, -1, np.int8)}
    codes = np.full(n, -1, np.int32)
    return {f"values-{k}.npy": codes, f"texts-{k}.npy": np.zeros(0, np.uint8), f"ends-{k}.npy": np.zeros(0, np.int64)}
