"""Build a catalogue from items, update one, and compact one.

Each makes a new version beside the others; nothing that is there is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from models.catalogue.index import check_collisions, has_items
from models.catalogue.items import DELETED, ItemPart, item_parts, segment_parts
from models.catalogue.linking import link_segment
from models.catalogue.making import Known, MadeSegment, make_segment
from models.catalogue.older import live_and_shared
from models.catalogue.versions import NewVersion, new_version, write_manifest
from models.contract.catalogue.manifest import (
    CATALOGUE_FILE,
    MOST_SEGMENTS,
    CatalogueError,
    CatalogueManifest,
    SegmentEntry,
)
from models.contract.spec import FeatureSpec
from models.data.reading.stores import source_digest
from models.data.records import ListFileError

_SEGMENT: Final = "segment-{:02}"


def build_catalogue(items: Path | Sequence[Path], spec: FeatureSpec, root: Path, *, version: str | None = None) -> Path:
    """Build a version from Parquet files, or from a catalogue's folder, and return its folder.

    Its version is the next number if none is given. Raises `CatalogueError` naming row and column of what is wrong.
    """
    sources = [items] if isinstance(items, Path) else list(items)
    with _as_catalogue_errors(), new_version(root, spec, version) as new:
        parts, provenance = _sources(sources)
        made = make_segment(parts, spec, new.folder / _SEGMENT.format(0), known=Known(), tombstones=False)
        return _finish(new, spec, [made.entry], made, made.entry.rows, {"made": "build", **provenance})


def update_catalogue(
    delta: Path | Sequence[Path], spec: FeatureSpec, root: Path, *, version: str | None = None
) -> Path:
    """Add the items of `delta` to the newest version; return the new folder.

    Each replaces the item of its id whole; where the column ``deleted`` is true the item is gone. Segments are merged
    where there would be more than `MOST_SEGMENTS`. Raises `CatalogueError`.
    """
    sources = [delta] if isinstance(delta, Path) else list(delta)
    with _as_catalogue_errors(), new_version(root, spec, version) as new:
        folder, base = _base(new, spec)
        parts = item_parts(sources, rank=len(base.segments))
        merges = len(base.segments) >= MOST_SEGMENTS
        older = segment_parts(folder, base, whole=merges)
        _check_whole(parts, older)
        provenance = {"made": "update", "base": base.version, "items": _named(sources)}
        if merges:
            return _merge(new, spec, [*older, *parts], base, {**provenance, "compacted": True})
        number = 1 + max(int(entry.name.rpartition("-")[2]) for entry in base.segments)
        known = Known(base.fields, base.embedding_width)
        made = make_segment(parts, spec, new.folder / _SEGMENT.format(number), known=known, tombstones=True)
        live, shared = live_and_shared(folder, base, made.index.hashes)
        check_collisions(parts, older, made.index.hashes[shared])
        fields = made.known.fields
        linked = [link_segment(folder / e.name, new.folder / e.name, e, fields) for e in base.segments]
        count = base.items - int(live.sum()) + made.entry.rows - made.entry.deleted
        return _finish(new, spec, [*linked, made.entry], made, count, provenance)


def compact_catalogue(spec: FeatureSpec, root: Path, *, version: str | None = None) -> Path:
    """Merge the newest version's segments as a new version, and return its folder.

    Raises `CatalogueError`.
    """
    with _as_catalogue_errors(), new_version(root, spec, version) as new:
        folder, base = _base(new, spec)
        provenance = {"made": "compact", "base": base.version}
        return _merge(new, spec, segment_parts(folder, base), base, provenance)


def _merge(
    new: NewVersion,
    spec: FeatureSpec,
    parts: Sequence[ItemPart],
    base: CatalogueManifest,
    provenance: dict[str, Any],
) -> Path:
    # The width of embeddings is found anew: they may all be gone.
    made = make_segment(parts, spec, new.folder / _SEGMENT.format(0), known=Known(base.fields), tombstones=False)
    return _finish(new, spec, [made.entry], made, made.entry.rows, provenance)


def _finish(
    new: NewVersion,
    spec: FeatureSpec,
    segments: Sequence[SegmentEntry],
    made: MadeSegment,
    items: int,
    provenance: dict[str, Any],
) -> Path:
    """Write the manifest of a version, and return the folder that it will have."""
    manifest = CatalogueManifest(
        version=new.target.name,
        spec=spec,
        items=items,
        embedding_width=made.known.width,
        fields=tuple(made.known.fields),
        segments=tuple(segments),
        provenance={**provenance, "at": datetime.now(UTC).isoformat(timespec="seconds")},
    )
    write_manifest(new.folder, manifest)
    return new.target


def _base(new: NewVersion, spec: FeatureSpec) -> tuple[Path, CatalogueManifest]:
    folder, base = new.base()
    if base.fingerprint != spec.fingerprint:
        raise CatalogueError(f"{folder}: is of the fingerprint {base.fingerprint!r}, not {spec.fingerprint!r}")
    return folder, base


def _sources(sources: Sequence[Path]) -> tuple[list[ItemPart], dict[str, Any]]:
    """Return the files to build from: those of a catalogue, or Parquet files without tombstones."""
    if len(sources) == 1 and (sources[0] / CATALOGUE_FILE).is_file():
        manifest = CatalogueManifest.read(sources[0])
        origin = {"fingerprint": manifest.fingerprint, "version": manifest.version}
        return segment_parts(sources[0], manifest), {"catalogue": origin}
    parts = item_parts(sources)
    for part in parts:
        if DELETED in part.columns:
            raise CatalogueError(
                f"{part.name}: column {DELETED}: is for updates; a catalogue is built of what is there"
            )
    return parts, {"items": _named(sources)}


def _check_whole(parts: Sequence[ItemPart], older: Sequence[ItemPart]) -> None:
    """Raise `CatalogueError` where items of an update lack a column that the catalogue has.

    Its values would be lost without a word.
    """
    columns = dict.fromkeys(name for part in older for name in part.columns if name != DELETED)
    fields = dict.fromkeys(name for part in older for name in part.names)
    for part in parts:
        lacking = [name for name in columns if name not in part.columns]
        lacking += [name for name in fields if name not in part.names]
        if lacking and has_items(part):
            raise CatalogueError(
                f"{part.name}: there is no column {lacking[0]!r}, which the catalogue has; an item is replaced whole"
            )


def _named(sources: Sequence[Path]) -> list[dict[str, str]]:
    return [{"name": source.name, "sha256": source_digest(source)} for source in sources]


@contextmanager
def _as_catalogue_errors() -> Iterator[None]:
    try:
        yield
    except ListFileError as error:
        raise CatalogueError(str(error)) from error
