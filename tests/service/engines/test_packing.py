"""Arrays come back as they were packed, and what is no such array is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec import ValidationError, msgpack

from models.contract.arrays import AnyArray
from service.engines.packing import PackedRow, pack, pack_batch, stack_packed, unpack
from service.engines.wire import Run, decode_worker
from service.inference.engine import stack_rows
from tests.service.engines.processes import packed


def dtypes_of(endianness: str) -> st.SearchStrategy[np.dtype[Any]]:
    """The types of truth values and numbers; "?" is either order of bytes, "=" that of this machine."""
    numbers = (hnp.integer_dtypes, hnp.unsigned_integer_dtypes, hnp.floating_dtypes)
    return st.one_of(hnp.boolean_dtypes(), *(kind(endianness=endianness) for kind in numbers))


dtypes = dtypes_of("?")
arrays = dtypes.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


@st.composite
def views(draw: st.DrawFn) -> AnyArray:
    """Any array, often one whose values do not lie side by side."""
    array: AnyArray = draw(arrays)
    if draw(st.booleans()):
        array = array.T
    if array.ndim and draw(st.booleans()):
        array = array[:: draw(st.sampled_from([1, 2, -1]))]
    return array


@given(named=st.dictionaries(st.text(max_size=5), views(), max_size=4))
def test_arrays_come_back_as_they_were_from_a_message(named: dict[str, AnyArray]) -> None:
    message = Run(1, 2, 3.0, False, pack(named))
    back = decode_worker(msgpack.encode(message))
    assert isinstance(back, Run)
    found = unpack(back.row)
    assert_same(found, named)
    assert not any(array.flags.writeable for array in found.values())


@st.composite
def batches(draw: st.DrawFn) -> dict[str, AnyArray]:
    """The arrays of a batch of one to four rows, by any names."""
    size = draw(st.integers(1, 4))
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4).map(lambda shape: (size, *shape))
    arrays = dtypes_of("=").flatmap(lambda dtype: hnp.arrays(dtype, shapes))
    named = st.dictionaries(st.text(max_size=5), arrays, max_size=4)
    return {"first": np.arange(size), **draw(named)}


def rows_of(batch: dict[str, AnyArray]) -> list[dict[str, AnyArray]]:
    """The arrays of each row."""
    return [{name: array[i] for name, array in batch.items()} for i in range(len(batch["first"]))]


def assert_same(found: Mapping[str, AnyArray], expected: Mapping[str, AnyArray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(batch=batches())
def test_the_rows_of_a_batch_are_packed_as_each_alone(batch: dict[str, AnyArray]) -> None:
    together = pack_batch(batch, len(batch["first"]))
    assert together == [pack(row) for row in rows_of(batch)]


@given(batch=batches())
def test_rows_of_one_layout_are_stacked_as_arrays_are(batch: dict[str, AnyArray]) -> None:
    rows = rows_of(batch)
    stacked = stack_packed([PackedRow(pack(row)) for row in rows])
    assert_same(stacked, stack_rows(rows))
    assert all(array.flags.c_contiguous and array.flags.aligned for array in stacked.values())


def test_rows_of_other_layouts_are_padded_as_arrays_are() -> None:
    rows = [{"e": np.ones((2, width), np.float32)} for width in (3, 5, 3)]
    assert_same(stack_packed([PackedRow(pack(row)) for row in rows]), stack_rows(rows))


def test_a_row_without_bytes_is_stacked_too() -> None:
    rows = [{"e": np.zeros((2, 0), np.float32)}] * 2
    assert_same(stack_packed([PackedRow(pack(row)) for row in rows]), stack_rows(rows))


@given(
    name=st.one_of(
        st.sampled_from(
            ["f4", "int8", "<f3", "O", "|O", "U3", "<U3", "S3", "M8[s]", "m8", "c8", "V4", "f4,f4", "(2,)f4"]
        ),
        st.text(),
    )
)
def test_a_name_of_no_number_is_refused(name: str) -> None:
    try:
        (found,) = unpack(packed(name, (0,), b"")).values()
    except ValueError:
        return
    assert found.dtype.kind in "biuf"


@pytest.mark.parametrize(
    "name", ["O", "|O", "U3", "S3", "M8[s]", "c8", "V4", "f4,f4", "(2,)f4", "", "no type", "(", "f4,("]
)
def test_such_names_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="type"):
        unpack(packed(name, (1,), b"\0" * 8))


@pytest.mark.parametrize("array", [np.array([{}]), np.array(["text"]), np.array([1j]), np.array([b"x"])])
def test_arrays_of_other_things_than_numbers_are_not_packed(array: AnyArray) -> None:
    with pytest.raises(ValueError, match="not passed on"):
        pack({"x": array})


@given(array=arrays.filter(lambda a: a.size), data=st.data())
def test_too_few_and_too_many_bytes_are_refused(array: AnyArray, data: st.DataObject) -> None:
    whole = array.tobytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    for spoilt in (whole[:cut], whole + whole[: cut + 1]):
        with pytest.raises(ValueError, match=r"bytes|cannot be made"):
            unpack(packed(array.dtype.str, array.shape, spoilt))


@pytest.mark.parametrize(
    "shape", [(-1,), (-1, -2), (2, -1), (2**63,), (2**64 - 1, 2), (2**40, 2**40), (1,) * 70, (3,), ()]
)
def test_shapes_that_the_bytes_do_not_have_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - NumPy's own words.
        unpack(packed("<f4", shape, b"\0" * 8))


def test_what_is_no_message_of_a_worker_is_refused() -> None:
    with pytest.raises(ValidationError):
        decode_worker(msgpack.encode([1, "one", 0, 0.0, False, [b"", b""]]))
