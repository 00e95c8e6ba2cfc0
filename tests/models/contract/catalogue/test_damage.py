"""A damaged file is refused by name when a catalogue is opened, and never met later."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.manifest import CATALOGUE_FILE, CatalogueError, CatalogueManifest
from models.contract.features import Encoder
from models.contract.spec import Category, FeatureSpec, Hashed, Number
from tests.models.contract.catalogue.making import Item, write_catalogue

SPEC = FeatureSpec(item=(Category("brand", ("acme", "bolt")), Number("stars"), Number("age"), Hashed("shop", 50)))
ENCODER = Encoder(SPEC)
ITEMS = [
    Item(f"item-{i}", {"brand": f"brand {i}", "stars": i, "age": 3, "shop": f"s{i}", "new": True}, 2.0, [1.0, float(i)])
    for i in range(20)
]
UPDATE = [Item("item-0", deleted=True), Item("item-1", {"brand": "bolt"}, 3.0, [0.0, 1.0])]
SEGMENT = "segment-1"
FILES = (
    *("hashes.npy", "directory.npy", "rows.npy", "numbers.npy", "price.npy", "embeddings.npy", "deleted.npy"),
    *("values-0.npy", "texts-0.npy", "ends-0.npy", "values-1.npy", "values-4.npy"),
)
ALIKE = [("price.npy", "values-1.npy")]
"""Files of one type and shape, which only checksums tell apart."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    write_catalogue(folder, ENCODER, ITEMS, UPDATE)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "catalogue")


def opened(folder: Path) -> Catalogue:
    return Catalogue(CatalogueManifest.read(folder), folder)


def refused(folder: Path) -> str:
    with pytest.raises(CatalogueError) as caught:
        opened(folder)
    return str(caught.value)


def test_a_sound_one_opens(folder: Path) -> None:
    assert set(FILES) < {path.name for path in (folder / SEGMENT).iterdir()}
    assert (opened(folder).locate(["item-0", "item-1", "item-2", "item-99"]) >= 0).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_a_truncated_file_is_named(folder: Path, file: str, left: int) -> None:
    path = folder / SEGMENT / file
    os.truncate(path, left if left >= 0 else path.stat().st_size - 1)
    assert refused(folder).startswith(f"{SEGMENT}/{file}: ")


@pytest.mark.parametrize("file", FILES)
def test_a_file_with_more_behind_it_is_named(folder: Path, file: str) -> None:
    path = folder / SEGMENT / file
    path.write_bytes(path.read_bytes() + b"\0")
    assert refused(folder).startswith(f"{SEGMENT}/{file}: has ")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / SEGMENT / file).unlink()
    assert refused(folder) == f"{SEGMENT}/{file}: cannot be read: No such file or directory"


@pytest.mark.parametrize("file", FILES)
def test_a_folder_in_place_of_a_file_is_named(folder: Path, file: str) -> None:
    (folder / SEGMENT / file).unlink()
    (folder / SEGMENT / file).mkdir()
    assert refused(folder) == f"{SEGMENT}/{file}: cannot be read: Is a directory"


def twice(array: Any) -> Any:
    return np.concatenate([array, array])


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(np.complex128),
        lambda a: a.astype(a.dtype.newbyteorder(">")) if a.dtype.itemsize > 1 else a.astype(np.int16),
        lambda a: a[..., np.newaxis],
        lambda a: a[:-1],
        twice,
        lambda a: a.reshape(-1)[0],
        lambda a: a.astype(object),
    ],
    ids=["type", "byte order", "one axis more", "one row less", "twice as many rows", "no axis", "objects"],
)
def test_another_type_or_shape_is_named(folder: Path, file: str, change: Callable[[Any], Any]) -> None:
    path = folder / SEGMENT / file
    np.save(path, change(np.load(path)), allow_pickle=True)
    if (file, change) == ("ends-0.npy", twice):
        return  # A last text that is empty, and no item has.
    # The ends of texts are only right beside the texts.
    assert refused(folder).startswith((f"{SEGMENT}/{file}: ", f"{SEGMENT}/{file.replace('texts', 'ends')}: "))


def test_an_array_by_column_is_named(folder: Path) -> None:
    path = folder / SEGMENT / "rows.npy"
    np.save(path, np.asfortranarray(np.load(path)))
    assert refused(folder) == f"{SEGMENT}/rows.npy: holds int32 by column, not int32"


@pytest.mark.parametrize("file", [f for f in FILES if f != "deleted.npy"])
def test_a_file_of_another_segment_is_named(folder: Path, file: str) -> None:
    shutil.copy(folder / "segment-0" / file, folder / SEGMENT / file)
    assert refused(folder).startswith((f"{SEGMENT}/{file}: ", f"{SEGMENT}/ends-0.npy: "))


@pytest.mark.parametrize(("file", "other"), [two for two in combinations(FILES, 2) if two not in ALIKE])
def test_swapped_files_are_named(folder: Path, file: str, other: str) -> None:
    one, two = folder / SEGMENT / file, folder / SEGMENT / other
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    assert refused(folder).partition(": ")[0] in {f"{SEGMENT}/{file}", f"{SEGMENT}/{other}"}


@pytest.mark.parametrize("bounds", [[0, 2, 1, 2, 2], [1, 1, 1, 2, 2], [0, 0, 1, 1, 3], [0, 1, 1, 2], [0, 2], [], [2]])
def test_a_directory_that_leads_elsewhere_is_named(folder: Path, bounds: list[int]) -> None:
    np.save(folder / SEGMENT / "directory.npy", np.array(bounds, np.uint32))
    assert refused(folder).startswith(f"{SEGMENT}/directory.npy: ")


@pytest.mark.parametrize("file", ["rows.npy", "numbers.npy"])
@pytest.mark.parametrize("segment", ["segment-0", SEGMENT])
@pytest.mark.parametrize("columns", [0, 1, 3])
def test_other_columns_than_the_specs_are_named(folder: Path, file: str, segment: str, columns: int) -> None:
    path = folder / segment / file
    np.save(path, np.resize(np.load(path), (len(np.load(path)), columns)))
    rows = len(ITEMS) if segment == "segment-0" else len(UPDATE)
    assert refused(folder) == f"{segment}/{file}: has the shape [{rows}, {columns}], not [{rows}, 2]"


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"(((",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,)",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-2,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000000000,), }",
        b"{'descr': [], 'fortran_order': False, 'shape': (2,), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'more': 1}",
        b"(" * 9000,
        b"-" * 9000 + b"1",
        b"'\n",
        b"\xff\xff",
        b"",
    ],
    ids=lambda header: repr(header[-25:]),
)
def test_a_malformed_header_is_named(folder: Path, header: bytes) -> None:
    path = folder / SEGMENT / "price.npy"
    whole = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(whole).to_bytes(2, "little") + whole + bytes(16))
    assert refused(folder).startswith(f"{SEGMENT}/price.npy: ")


@contextlib.contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    """Put other bytes into a file for a while, as a new file, since the old one may be mapped."""
    sound = path.read_bytes()
    for replacement in (content, sound):
        path.unlink()
        path.write_bytes(replacement)
        if replacement is content:
            yield


@settings(max_examples=300)
@given(
    file=st.sampled_from(FILES),
    at=st.integers(0, 127),
    byte=st.integers(0, 255),
)
def test_any_byte_of_a_header_may_be_wrong(sound: Path, file: str, at: int, byte: int) -> None:
    path = sound / SEGMENT / file
    content = bytearray(path.read_bytes())
    content[at] = byte
    with changed(path, bytes(content)):
        fault = ""
        try:
            opened(sound).items([item.id for item in ITEMS])
        except CatalogueError as error:
            fault = str(error)
    assert not fault or fault.startswith(f"{SEGMENT}/")


def test_an_opener_says_where_files_are(folder: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    asked: list[str] = []

    def opener(name: str) -> Path:
        asked.append(name)
        return Path(shutil.copy(folder / name, copies / name.replace("/", "_")))

    manifest = CatalogueManifest.read(folder)
    catalogue = Catalogue(manifest, folder, opener)
    assert sorted(asked) == sorted(f"{s.name}/{file}" for s in manifest.segments for file in s.files)
    shutil.rmtree(folder)
    item = catalogue.items(["item-1"])[0]
    assert item is not None
    assert item.features == {"brand": "bolt"}


def test_a_catalogue_serves_on_when_its_folder_is_gone_or_replaced(folder: Path) -> None:
    catalogue = opened(folder)
    folder.rename(folder.with_name("old"))
    write_catalogue(folder, ENCODER, [Item("item-1", {"brand": "acme"})])
    shutil.rmtree(folder.with_name("old"))
    item = catalogue.items(["item-1"])[0]
    assert item is not None
    assert item.features == {"brand": "bolt"}


def test_the_manifest_says_how_many_rows_files_have(folder: Path) -> None:
    table = json.loads((folder / CATALOGUE_FILE).read_text())
    table["segments"][0]["rows"] += 1
    (folder / CATALOGUE_FILE).write_text(json.dumps(table))
    assert refused(folder).startswith("segment-0/hashes.npy: has the shape [20], not [21]")
