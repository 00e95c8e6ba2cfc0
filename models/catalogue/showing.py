"""Say what is in a catalogue's folder, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tabulate import tabulate

from models.catalogue.versions import versions_in
from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.manifest import CATALOGUE_FILE, CatalogueError, CatalogueManifest
from models.files import file_digest

_ORIGIN: Final = ("made", "base", "at")
_MEGABYTE: Final = 1e6
_SIDES: Final = {"version": "left", "fingerprint": "left", "segment": "left", "field": "left", "kind": "left"}


def describe(path: Path) -> str:
    """Describe one version by its folder, or list the versions in a root.

    The folder of a fingerprint counts as a root. Raises `CatalogueError` where there is none.
    """
    if (path / CATALOGUE_FILE).is_file():
        return _version(path)
    folders = [path, *sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))]
    rows = [_row(folder / version) for folder in folders for version in versions_in(folder)]
    if not rows:
        raise CatalogueError(f"{path}: holds no catalogue")
    return _table(["fingerprint", "version", "items", "segments", "deleted", "MB"], rows)


def faults(folder: Path) -> list[str]:
    """Name the files of a version that are not as they were written.

    Raises `CatalogueError` where the manifest is malformed, or files do not fit it though their checksums do.
    """
    manifest = CatalogueManifest.read(folder)
    found = []
    for entry in manifest.segments:
        for name, digest in entry.files.items():
            path = folder / entry.name / name
            if not path.is_file():
                found.append(f"{path}: is missing")
            elif file_digest(path) != digest:
                found.append(f"{path}: its checksum differs from that in the manifest")
    if not found:
        Catalogue(manifest, folder)
    return found


def _version(folder: Path) -> str:
    manifest = CatalogueManifest.read(folder)
    origin = manifest.provenance
    facts = {
        "version": manifest.version,
        "fingerprint": manifest.fingerprint,
        "items": f"{manifest.items:,}",
        "embeddings": str(manifest.embedding_width or "none"),
        **{key: str(origin[key]) for key in origin if key in _ORIGIN},
    }
    fields = _table(["field", "kind"], [[field.name, field.kind] for field in manifest.fields])
    segments = [
        [entry.name, f"{entry.rows:,}", f"{entry.deleted:,}", _megabytes(folder / entry.name)]
        for entry in manifest.segments
    ]
    return "\n\n".join(
        (
            tabulate(list(facts.items()), tablefmt="plain", disable_numparse=True),
            fields,
            _table(["segment", "rows", "deleted", "MB"], segments),
        )
    )


def _row(folder: Path) -> list[str]:
    manifest = CatalogueManifest.read(folder)
    deleted = sum(entry.deleted for entry in manifest.segments)
    counts = [f"{count:,}" for count in (manifest.items, len(manifest.segments), deleted)]
    return [folder.parent.name, folder.name, *counts, _megabytes(folder)]


def _megabytes(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / _MEGABYTE:,.1f}"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    sides = [_SIDES.get(head, "right") for head in heads]
    return tabulate(rows, heads, "plain", colalign=sides, disable_numparse=True) if rows else ""
