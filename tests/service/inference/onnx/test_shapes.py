"""Padding to fixed shapes: which shape a batch gets, what fills it up, and that the answers do not change."""

from __future__ import annotations

import numpy as np
import pytest

from models.contract.tensor_specs import TensorSpec
from service.inference.onnx.shapes import SLOTS, WIDTHS, Shape, Shapes, batch_sizes, padded

FIXED = (
    TensorSpec("price", "float32", ("B", 3)),
    TensorSpec("embeddings", "float32", ("B", 3, "E")),
    TensorSpec("window", "int64", ("B",)),
)
FREE = (
    TensorSpec("item_ids", "int64", ("B", "N", 2)),
    TensorSpec("valid", "bool", ("B", "N")),
    TensorSpec("embeddings", "float32", ("B", "N", "E")),
)


def batch_of(rows: int, width: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    return {
        "price": rng.random((rows, 3), np.float32),
        "embeddings": rng.random((rows, 3, width), np.float32),
        "window": np.arange(rows) + 1,
    }


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8)), (9, (1, 2, 4, 8, 9))]
)
def test_batch_sizes_double_and_end_at_the_largest(largest: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(largest) == sizes


@pytest.mark.parametrize(
    ("size", "expected"), [(0, 16), (1, 16), (16, 16), (17, 64), (128, 128), (129, 256), (1000, 1024)]
)
def test_a_free_size_is_rounded_up_to_a_usual_one_and_past_those_to_a_power_of_two(size: int, expected: int) -> None:
    assert padded(size, WIDTHS) == expected


@pytest.mark.parametrize(("rows", "expected"), [(1, 1), (2, 2), (3, 4), (5, 6), (6, 6)])
def test_the_smallest_shape_that_holds_a_batch_is_taken(rows: int, expected: int) -> None:
    assert Shapes(FIXED, 6).fit(batch_of(rows, 20)) == Shape(expected, (("E", 64),))


def test_more_rows_than_the_largest_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 7 rows is larger than the largest, 6"):
        Shapes(FIXED, 6).fit(batch_of(7, 1))


def test_all_shapes_that_are_warmed_come_once_and_the_largest_first() -> None:
    shapes = list(Shapes(FREE, 3).to_warm())
    assert shapes[0] == Shape(3, (("E", WIDTHS[-1]), ("N", SLOTS[-1])))
    assert len(shapes) == len(set(shapes)) == 3 * len(WIDTHS) * len(SLOTS)
    assert list(Shapes(FREE[1:2], 1).to_warm()) == [Shape(1, (("N", size),)) for size in sorted(SLOTS, reverse=True)]


def test_a_graph_without_free_axes_has_one_shape_per_batch_size() -> None:
    assert list(Shapes(FIXED[::2], 4).to_warm()) == [Shape(4), Shape(2), Shape(1)]


def test_padding_repeats_the_last_row_and_fills_widths_with_zeros() -> None:
    shapes, batch = Shapes(FIXED, 4), batch_of(3, 5)
    into = {t.name: np.full(shapes.sizes(t, shapes.fit(batch)), 9, t.dtype) for t in FIXED}
    shapes.pad(batch, into)
    assert into["embeddings"].shape == (4, 3, 16)
    for name, array in batch.items():
        np.testing.assert_array_equal(
            into[name][:3, ..., : array.shape[-1]] if name == "embeddings" else into[name][:3], array
        )
        np.testing.assert_array_equal(into[name][3], into[name][2])
    assert not into["embeddings"][..., 5:].any()


def test_nothing_of_an_earlier_and_wider_batch_is_left_over() -> None:
    shapes = Shapes(FIXED, 4)
    into = {t.name: np.zeros(shapes.sizes(t, Shape(4, (("E", 16),))), t.dtype) for t in FIXED}
    shapes.pad(batch_of(4, 16), into)
    narrow = batch_of(1, 2)
    shapes.pad(narrow, into)
    assert not into["embeddings"][..., 2:].any()
    np.testing.assert_array_equal(into["embeddings"][..., :2], np.repeat(narrow["embeddings"], 4, axis=0))
    np.testing.assert_array_equal(into["window"], [1, 1, 1, 1])


def test_slots_that_are_filled_up_are_empty() -> None:
    shapes = Shapes(FREE, 1)
    batch = {
        "item_ids": np.ones((1, 40, 2), np.int64),
        "valid": np.ones((1, 40), bool),
        "embeddings": np.ones((1, 40, 3), np.float32),
    }
    shape = shapes.fit(batch)
    assert shape == Shape(1, (("E", 16), ("N", 128)))
    into = {t.name: np.ones(shapes.sizes(t, shape), t.dtype) for t in FREE}
    shapes.pad(batch, into)
    assert into["valid"].sum() == 40
    assert into["valid"][0, :40].all()
