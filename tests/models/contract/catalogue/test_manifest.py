"""`catalogue.json` is read as it was written, and every fault in it is named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.contract.catalogue.manifest import (
    CATALOGUE_FILE,
    MOST_SEGMENTS,
    CatalogueError,
    CatalogueField,
    CatalogueManifest,
    SegmentEntry,
    array_files,
    fingerprint_folder,
)
from models.contract.spec import Category, FeatureSpec, Number

FIELDS = (CatalogueField("brand", "text"), CatalogueField("stars", "number"), CatalogueField("new", "flag"))
SPEC = FeatureSpec(item=(Category("brand", ("acme",)), Number("stars")), price=Number("price"))
DIGEST = "0123456789abcdef" * 4


def entry(name: str, *, embeddings: bool = False, deleted: int = 0) -> SegmentEntry:
    names = array_files(FIELDS, embeddings=embeddings, deleted=deleted > 0)
    return SegmentEntry(name, 5, deleted, dict.fromkeys([*names, "items.parquet"], DIGEST))


MANIFEST = CatalogueManifest(
    version="7",
    spec=SPEC,
    items=8,
    embedding_width=64,
    fields=FIELDS,
    segments=(entry("base", embeddings=True), entry("delta-1", deleted=2)),
    provenance={"items": "items.parquet", "rows": [5, 5]},
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / CATALOGUE_FILE).write_text(json.dumps(MANIFEST.to_json()), "utf-8")
    read = CatalogueManifest.read(tmp_path)
    assert read == MANIFEST
    assert read.fingerprint == SPEC.fingerprint


def test_a_segment_has_its_arrays_and_three_for_a_text() -> None:
    assert array_files(FIELDS, embeddings=True, deleted=True) == [
        *("hashes.npy", "directory.npy", "rows.npy", "numbers.npy", "price.npy", "embeddings.npy", "deleted.npy"),
        *("values-0.npy", "texts-0.npy", "ends-0.npy", "values-1.npy", "values-2.npy"),
    ]


def test_the_versions_of_a_spec_stand_in_a_folder_of_its_fingerprint(tmp_path: Path) -> None:
    assert fingerprint_folder(tmp_path, DIGEST) == tmp_path / "0123456789ab"


Change = Callable[[dict[str, Any]], object]


def put(*path: str | int, value: object) -> Change:
    """Change what stands at a path of keys."""

    def change(table: Any) -> None:
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return change


def drop(*path: str | int) -> Change:
    """Take away what stands at a path of keys."""

    def change(table: Any) -> None:
        for key in path[:-1]:
            table = table[key]
        del table[path[-1]]

    return change


FIRST = ("segments", 0)
FAULTS: list[tuple[Change, str]] = [
    (put("format", value=2), "catalogue.format: this version reads format 1, not 2"),
    (put("colour", value=1), "catalogue.colour: unknown key"),
    (drop("items"), "catalogue.items: is missing"),
    (drop("format"), "catalogue.format: is missing"),
    (put("items", value=-1), "catalogue.items: must be 0 to 2147483647, not -1"),
    (put("items", value=True), "catalogue.items: must be of type int"),
    (put("items", value=9), "catalogue.items: are 9, more than the segments have"),
    (put("fingerprint", value="abc"), f"catalogue.fingerprint: is 'abc', but the spec in it has '{SPEC.fingerprint}'"),
    (put("fingerprint", value=None), "catalogue.fingerprint: is None, but the spec in it has"),
    (drop("fingerprint"), "catalogue.fingerprint: is missing"),
    (put("spec", "price", value=None), f"catalogue.fingerprint: is '{SPEC.fingerprint}', but the spec in it has"),
    (put("provenance", "by", value="\ud800"), "catalogue: has half a surrogate pair in a text"),
    (put("spec", "item", 0, "vocabulary", value=["\udfff"]), "catalogue: has half a surrogate pair in a text"),
    (drop("spec"), "catalogue.spec: is missing"),
    (put("spec", value=[]), "spec: must be an object"),
    (put("spec", "item", 0, "kind", value="image"), "spec.item[0].kind: must be one of"),
    (put("version", value="../7"), "catalogue.version: must be a plain folder name, not '../7'"),
    (put("version", value=7), "catalogue.version: must be a string"),
    (put("provenance", value=[]), "catalogue.provenance: must be an object"),
    (put("embedding_width", value=0), "catalogue.segments[0].files.embeddings.npy: unknown key"),
    (put("embedding_width", value=1.5), "catalogue.embedding_width: must be of type int"),
    (put("fields", value={}), "catalogue.fields: must be an array"),
    (put("fields", 0, "kind", value="image"), "brand.kind: must be one of text, number, flag"),
    (put("fields", 0, "size", value=1), "catalogue.fields[0].size: unknown key"),
    (put("fields", 1, "name", value="brand"), "catalogue.fields: has repeated names"),
    (put("segments", value=[]), f"catalogue.segments: must be 1 to {MOST_SEGMENTS}, not 0"),
    (put(*FIRST, value=3), "catalogue.segments[0]: must be an object"),
    (put(*FIRST, "size", value=3), "catalogue.segments[0].size: unknown key"),
    (put(*FIRST, "rows", value=2**31), "catalogue.segments[0].rows: must be 0 to 2147483647"),
    (put(*FIRST, "deleted", value=6), "catalogue.segments[0].deleted: are 6 of 5 rows"),
    (put(*FIRST, "deleted", value=1), "catalogue.segments[0].files.deleted.npy: is missing"),
    (put("segments", 1, "name", value="base"), "catalogue.segments: has repeated names"),
    (put(*FIRST, "files", "model.onnx", value=DIGEST), "catalogue.segments[0].files.model.onnx: unknown key"),
    (put(*FIRST, "files", "price.npy", value="x"), "catalogue.segments[0].files.price.npy: must be a SHA-256 in hex"),
    (drop(*FIRST, "files", "hashes.npy"), "catalogue.segments[0].files.hashes.npy: is missing"),
    (drop(*FIRST, "files", "ends-0.npy"), "catalogue.segments[0].files.ends-0.npy: is missing"),
    *(
        (put(*FIRST, "name", value=name), f"catalogue.segments[0].name: must be a plain folder name, not {name!r}")
        for name in ("", ".", "..", "../base", "/base", "a/b", "a\\b", ".hidden", "a\0", "a" * 200)
    ),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=[message[:60] for _, message in FAULTS])
def test_a_fault_is_named_with_its_key(tmp_path: Path, change: Change, message: str) -> None:
    table = copy.deepcopy(MANIFEST.to_json())
    change(table)
    (tmp_path / CATALOGUE_FILE).write_text(json.dumps(table), "utf-8")
    with pytest.raises(CatalogueError) as caught:
        CatalogueManifest.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / CATALOGUE_FILE}: {message[:100]}")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b"NaN"], ids=lambda c: repr(c[:8])
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CATALOGUE_FILE).write_bytes(content)
    with pytest.raises(CatalogueError, match=CATALOGUE_FILE):
        CatalogueManifest.read(tmp_path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"catalogue.json: cannot be read: No such file"):
        CatalogueManifest.read(tmp_path / "7")
