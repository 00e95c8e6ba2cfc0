"""An update changes what it says and nothing else; however many there were, compaction changes nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.catalogue.build import build_catalogue, compact_catalogue, update_catalogue
from models.contract.catalogue.catalogue import CatalogueItem
from models.contract.catalogue.manifest import MOST_SEGMENTS, CatalogueError, CatalogueManifest
from models.contract.embeddings import unit_embeddings
from models.contract.spec import FeatureSpec
from tests.models.catalogue.making import OTHER_SPEC, SPEC, delta, features, files, opened, write_items

IDS = [f"item-{i}" for i in range(6)]
ITEM: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "id": st.sampled_from(IDS),
        "price": st.none() | st.floats(0, 9),
        "brand": st.sampled_from(["acme", "bolt", "other", None]),
        "stars": st.none() | st.integers(0, 5),
        "embedding": st.none() | st.just([3.0, 4.0]) | st.just([0.0, 1.0]),
        "deleted": st.booleans(),
    }
)
BATCH = st.lists(ITEM, min_size=1, unique_by=lambda item: item["id"])
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "price": pa.float64(),
        "brand": pa.string(),
        "stars": pa.int64(),
        "embedding": pa.list_(pa.float32()),
        "deleted": pa.bool_(),
    }
)


def write(folder: Path, batch: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    pq.write_table(pa.Table.from_pylist(batch, schema=schema), folder / "items.parquet")
    return folder / "items.parquet"


def known_items(folder: Path) -> list[CatalogueItem | None]:
    catalogue = opened(folder)
    return catalogue.items(IDS)


@pytest.mark.long
@settings(max_examples=12)
@given(BATCH, st.lists(BATCH, max_size=4))
def test_updates_and_their_merging_say_what_the_newest_rows_say(
    base: list[dict[str, Any]], deltas: list[list[dict[str, Any]]]
) -> None:
    model = {item["id"]: item for item in base}
    with TemporaryDirectory() as name:
        work, root = Path(name), Path(name) / "root"
        found = build_catalogue(write(work, base, SCHEMA.remove(5)), SPEC, root)
        for batch in deltas:
            found = update_catalogue(write(work, batch), SPEC, root)
            model.update({item["id"]: item for item in batch if not item["deleted"]})
            for item in batch:
                if item["deleted"]:
                    model.pop(item["id"], None)
        assert CatalogueManifest.read(found).items == len(model)
        say = known_items(found)
        assert [item is not None for item in say] == [name in model for name in IDS]
        for known in (item for item in say if item is not None):
            row = model[known.id]
            assert known.features == {name: row[name] for name in ("brand", "stars") if row[name] is not None}
            assert known.embedding == (row["embedding"] and unit_embeddings([row["embedding"]])[0].tolist())
        if model:
            merged = compact_catalogue(SPEC, root)
            assert known_items(merged) == say
            anew = build_catalogue(found, SPEC, work / "anew")
            assert arrays(anew) == arrays(merged)
        else:
            with pytest.raises(CatalogueError, match="there are no items"):
                compact_catalogue(SPEC, root)


def arrays(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(folder).items() if name.endswith(".npy")}


def test_an_update_shares_the_files_of_the_segments_before_it(tmp_path: Path) -> None:
    base = build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, tmp_path / "root")
    before = files(base)
    new = update_catalogue(write_items(tmp_path / "delta.parquet", delta(["a", "e"])), SPEC, tmp_path / "root")
    assert (base.name, new.name) == ("1", "2")
    assert files(base) == before
    for path in (base / "segment-00").iterdir():
        assert path.samefile(new / "segment-00" / path.name)
    assert features(new, ["a", "b", "e"]) == [{}, features(base, ["b"])[0], {}]


def test_an_update_copies_where_links_do_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    base = build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, tmp_path / "root")
    monkeypatch.setattr(os, "link", refuse)
    new = update_catalogue(write_items(tmp_path / "delta.parquet", delta(["a"])), SPEC, tmp_path / "root")
    assert files(new / "segment-00") == files(base / "segment-00")
    assert not (new / "segment-00" / "rows.npy").samefile(base / "segment-00" / "rows.npy")


def test_tombstones_need_no_other_column(tmp_path: Path) -> None:
    build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, tmp_path / "root")
    path = write_items(tmp_path / "delta.parquet", {"id": ["b", "unheard of"], "deleted": [True, True]})
    new = update_catalogue(path, SPEC, tmp_path / "root")
    assert CatalogueManifest.read(new).items == 3
    assert [item is None for item in opened(new).items(["a", "b", "unheard of"])] == [False, True, True]


def test_faults_of_what_is_deleted_do_not_matter(tmp_path: Path) -> None:
    build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, tmp_path / "root")
    path = write_items(tmp_path / "delta.parquet", delta(["a"], price=[-1.0], embedding=[[1.0]], deleted=[True]))
    assert CatalogueManifest.read(update_catalogue(path, SPEC, tmp_path / "root")).items == 3


@pytest.mark.parametrize(("kind", "value"), [("text", "new"), ("number", 7.0), ("flag", True)])
def test_a_new_field_is_missing_in_older_items(tmp_path: Path, kind: str, value: Any) -> None:
    build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, tmp_path / "root")
    path = write_items(tmp_path / "delta.parquet", delta(["e"], colour=[value]))
    new = update_catalogue(path, SPEC, tmp_path / "root")
    assert CatalogueManifest.read(new).fields[-1].kind == kind
    older, newer = features(new, ["a", "e"])
    assert older is not None
    assert "colour" not in older
    assert newer == {"colour": value}
    assert features(compact_catalogue(SPEC, tmp_path / "root"), ["a", "e"]) == [older, newer]


def test_whole_numbers_are_texts_where_they_are_in_the_catalogue(tmp_path: Path) -> None:
    columns = {"id": ["a", "b"], "shop": [2**60, 5]}
    build_catalogue(write_items(tmp_path / "items.parquet", columns), SPEC, tmp_path / "root")
    path = write_items(tmp_path / "delta.parquet", {"id": ["b", "c"], "shop": [6, 7]})
    new = update_catalogue(path, SPEC, tmp_path / "root")
    assert features(new, ["a", "b", "c"]) == [{"shop": str(2**60)}, {"shop": "6"}, {"shop": "7"}]


def test_more_updates_than_there_may_be_segments_are_merged(tmp_path: Path) -> None:
    root = tmp_path / "root"
    build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, root)
    for i in range(MOST_SEGMENTS + 1):
        path = write_items(tmp_path / "delta.parquet", delta(["a", f"new-{i}"], stars=[i, i]))
        manifest = CatalogueManifest.read(update_catalogue(path, SPEC, root))
        assert manifest.items == 5 + i
        assert len(manifest.segments) == (i + 2 if i < MOST_SEGMENTS - 1 else i + 2 - MOST_SEGMENTS)
    newest = root / SPEC.fingerprint[:12] / manifest.version
    assert features(newest, ["a", "new-0", "new-16"]) == [{"stars": 16.0}, {"stars": 0.0}, {"stars": 16.0}]


def test_a_bundle_of_another_fingerprint_gets_its_catalogue_from_one_that_is_there(tmp_path: Path) -> None:
    root, path = tmp_path / "root", write_items(tmp_path / "items.parquet")
    older = build_catalogue(path, SPEC, root)
    anew, direct = build_catalogue(older, OTHER_SPEC, root), build_catalogue(path, OTHER_SPEC, tmp_path / "direct")
    assert arrays(anew) == arrays(direct)
    assert {folder.name for folder in root.glob("[!.]*")} == {s.fingerprint[:12] for s in (SPEC, OTHER_SPEC)}


def test_a_field_named_like_a_column_is_kept_apart_from_it(tmp_path: Path) -> None:
    columns = {"id": ["a"], "price": [2.0], "features": [{"price": "cheap", "id": "x"}]}
    older = build_catalogue(write_items(tmp_path / "items.parquet", columns), FeatureSpec(), tmp_path / "root")
    anew = build_catalogue(older, SPEC, tmp_path / "root")
    assert features(anew, ["a"]) == [{"price": "cheap", "id": "x"}]
