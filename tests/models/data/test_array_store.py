"""Arrays of encoded lists on disk: the same values, no file that stays, no memory that stays."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.contract.arrays import AnyArray, Arrays
from models.data import array_store
from models.data import batches as batch_module
from models.data.array_store import ArrayStore, is_on_disk
from models.data.batches import DiskBatch, ListArrays, batches, encode_lists, epoch_order
from tests.models.specs import fit_spec
from tests.models.training.records import make_records

RECORDS = make_records(40)
CPU = torch.device("cpu")


def stored(folder: Path, *, on_disk: bool) -> ListArrays:
    """Put lists in chunks of 16."""
    spec, store = fit_spec(RECORDS), ArrayStore(len(RECORDS), folder, on_disk=on_disk)
    for start in range(0, len(RECORDS), 16):
        store.put(encode_lists(RECORDS[start : start + 16], spec, 4).arrays())
    return ListArrays.of(store.arrays())


@pytest.mark.parametrize("on_disk", [False, True])
def test_chunks_make_the_arrays_that_one_encoding_makes(tmp_path: Path, on_disk: bool) -> None:
    found, expected = stored(tmp_path, on_disk=on_disk), encode_lists(RECORDS, fit_spec(RECORDS), 4)
    assert found.on_disk == on_disk
    assert found.digest == expected.digest
    rows = np.array([7, 3, 39])
    for some in (found.take(rows), found.part(rows, tmp_path)):
        assert some.digest == expected.take(rows).digest
    assert found.part(rows, tmp_path).on_disk == on_disk
    assert list(tmp_path.iterdir()) == []  # the files have no name


def test_batches_from_disk_are_those_from_memory(tmp_path: Path) -> None:
    order = epoch_order(len(RECORDS), seed=1, epoch=0)
    on_disk = stored(tmp_path, on_disk=True).tensors(CPU)
    assert isinstance(on_disk, DiskBatch)
    in_memory = stored(tmp_path, on_disk=False).tensors(CPU)
    for found, expected in zip(batches(on_disk, 7, order), batches(in_memory, 7, order), strict=True):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], values) for name, values in expected.items())


def test_large_arrays_go_to_disk_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(values.nbytes for values in stored(tmp_path, on_disk=False).arrays().values())
    monkeypatch.setattr(array_store, "LARGE", size + 1)
    assert not stored(tmp_path, on_disk=False).on_disk
    monkeypatch.setattr(array_store, "LARGE", size)
    assert stored(tmp_path, on_disk=False).on_disk


@pytest.mark.parametrize("on_disk", [False, True])
def test_arrays_grow_to_the_widest_chunk_and_are_padded_with_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool
) -> None:
    monkeypatch.setattr(array_store, "_COPIED", 2)
    chunks = [np.ones((3, 2, 1), np.float32), np.full((2, 1, 4), 2, np.float32), np.full((1, 3, 1), 3, np.float32)]
    store = ArrayStore(6, tmp_path, on_disk=on_disk)
    for chunk in chunks:
        store.put({"a": chunk})
    expected = np.concatenate([np.pad(c, [(0, 0), (0, 3 - c.shape[1]), (0, 4 - c.shape[2])]) for c in chunks])
    found = store.arrays()["a"]
    assert is_on_disk(found) == on_disk
    np.testing.assert_array_equal(found, expected)


def test_pages_of_arrays_on_disk_are_given_back(tmp_path: Path) -> None:
    store = ArrayStore(1 << 14, tmp_path, on_disk=True)
    before = resident()
    for _ in range(4):
        store.put({"a": np.ones((1 << 12, 1 << 10), np.float32)})  # 64 MiB in all
    arrays = ListArrays({}, *(store.arrays()["a"],) * 3)  # type: ignore[arg-type]
    assert len(arrays.digest) == 64
    assert resident() - before < 40 << 20


def four_of_16_mib(folder: Path) -> ListArrays:
    """Lists with four arrays on disk, a page to a row."""
    store = ArrayStore(1 << 12, folder, on_disk=True)
    chunk: Arrays = {name: np.ones((1 << 12, 1 << 10), np.float32) for name in "abcd"}
    store.put(chunk)
    arrays = store.arrays()
    return ListArrays({"a": arrays["a"]}, arrays["b"], arrays["c"], arrays["d"])  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_rows_are_taken_with_one_array_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, seen = four_of_16_mib(tmp_path), list[int]()

    def watched(given: Iterable[AnyArray]) -> None:
        seen.append(resident())
        array_store.release(given)

    monkeypatch.setattr(batch_module, "release", watched)
    before = resident()
    arrays.take(np.arange(0, 1 << 12, 16))  # The system maps the pages between them, too.
    assert len(seen) == 4
    assert max(seen) - before < 40 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_arrays_that_were_read_as_a_whole_are_given_back(tmp_path: Path) -> None:
    arrays = four_of_16_mib(tmp_path)
    before = resident()
    assert sum(float(values.sum()) for values in arrays.arrays().values()) == 1 << 24
    assert resident() - before > 40 << 20
    arrays.release()
    assert resident() - before < 24 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * 4096
