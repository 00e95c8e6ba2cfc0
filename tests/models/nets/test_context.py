"""List-context features against a slow count, item by item, and what must not matter to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.contract.spec import Category, FeatureSpec, Hashed, Number
from models.nets.context import ContextLayout, Items, context_features, own_context
from tests.models.planners.examples import SCORES_ONLY, SPEC


@dataclass(frozen=True)
class Item:
    """Values of the categorical fields (None: unknown), numbers, and an embedding of any length."""

    values: tuple[int | None, ...]
    numbers: tuple[float, ...]
    embedding: tuple[float, ...]


SMALL = st.floats(-2, 2).map(lambda x: round(x, 3))
ITEMS = st.builds(
    Item,
    st.tuples(*[st.none() | st.integers(0, 2)] * 2),
    st.tuples(*[SMALL] * 3),
    st.tuples(*[SMALL] * 2) | st.just((0.0, 0.0)),
)
LISTS = st.lists(ITEMS, min_size=1, max_size=7)


def unit(embedding: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in embedding))
    return [x / length if length > 1e-9 else 0.0 for x in embedding]


def tensors(items: Sequence[Item], *, cosines: bool = True) -> Items:
    """The items as the model's batch has them: [n, …]."""
    ids = [[-1 if v is None else 10 * c + v for c, v in enumerate(item.values)] for item in items]
    return Items(
        torch.tensor(ids).view(len(items), -1),
        torch.tensor([item.numbers for item in items], dtype=torch.float64).view(len(items), -1),
        torch.tensor([unit(item.embedding) for item in items], dtype=torch.float64) if cosines else None,
    )


def slow(item: Item, before: Sequence[Item], *, cosines: bool = True) -> list[float]:
    """The features of an item behind those `before` it, one comparison at a time."""
    if not before:
        return [0.0] * (3 * len(item.values) + 2 * len(item.numbers) + 3 * cosines)
    found: list[float] = []
    for some in (before, before[-3:], before[-1:]):
        for c, value in enumerate(item.values):
            found.append(sum(value is not None and other.values[c] == value for other in some) / 3)
    for f, number in enumerate(item.numbers):
        found.append(number - sum(other.numbers[f] for other in before) / len(before))
    for f, number in enumerate(item.numbers):
        found.append(abs(number - before[-1].numbers[f]))
    if cosines:
        products = [
            sum(a * b for a, b in zip(unit(item.embedding), unit(other.embedding), strict=True)) for other in before
        ]
        found += [max(products), sum(products) / len(products), products[-1]]
    return found


@settings(max_examples=150, deadline=None)
@given(items=LISTS, cosines=st.booleans())
def test_every_item_of_a_list_is_compared_with_those_before_it(items: list[Item], cosines: bool) -> None:
    found = own_context(tensors(items, cosines=cosines))
    expected = [slow(item, items[:j], cosines=cosines) for j, item in enumerate(items)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@settings(max_examples=100, deadline=None)
@given(before=st.lists(ITEMS, max_size=6), next_items=st.lists(ITEMS, min_size=1, max_size=4))
def test_many_alternatives_are_compared_with_one_list(before: list[Item], next_items: list[Item]) -> None:
    empty = tensors([Item((0, 0), (0.0, 0.0, 0.0), (1.0, 0.0))])
    earlier = tensors(before) if before else empty.take(torch.arange(0))
    found = context_features(tensors(next_items), earlier, torch.arange(len(before), 0, -1)[None])
    expected = [slow(item, before) for item in next_items]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@settings(max_examples=60, deadline=None)
@given(items=LISTS, data=st.data())
def test_ages_say_what_stands_before_and_where(items: list[Item], data: st.DataObject) -> None:
    """Earlier items may lie in any order, and items that do not stand before at all among them."""
    order = data.draw(st.permutations(range(len(items))))
    later = data.draw(st.integers(0, len(items) - 1))
    age = torch.tensor([[later - place for place in order]])
    found = context_features(tensors([items[later]]), tensors([items[place] for place in order]), age)
    expected = slow(items[later], items[:later])
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64))


@settings(max_examples=60, deadline=None)
@given(before=st.lists(ITEMS, min_size=2, max_size=6), item=ITEMS, data=st.data())
def test_the_order_of_earlier_items_does_not_matter_to_what_counts_them_all(
    before: list[Item], item: Item, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(before))
    one, other = (own_context(tensors([*some, item]))[-1] for some in (before, shuffled))
    of_all = [*range(2), *range(6, 9), 12, 13]  # counts, differences to the mean, largest and mean cosine
    torch.testing.assert_close(one[of_all], other[of_all])


def test_unknown_values_equal_nothing_not_even_each_other() -> None:
    spec = FeatureSpec(item=(Category("colour", ("red", "blue")), Hashed("brand", 5)), scores=(Number("ctr"),))
    unknown, red = 0, 1
    ids = torch.tensor([[[unknown, 3], [unknown, 3], [red, 4], [red, 3]]])
    batch = {"item_ids": ids, "item_numbers": torch.zeros(1, 4, 0), "item_scores": torch.zeros(1, 4, 1)}
    found = own_context(Items.of(batch, spec, cosines=False))[0]
    assert (3 * found[:, 0]).tolist() == pytest.approx([0, 0, 0, 1])
    assert not found[:, 1].any()  # row 3 is the brand's unknown bucket: the colour has rows 0 to 2
    known = own_context(Items.of({**batch, "item_ids": ids + torch.tensor([0, 1])}, spec, cosines=False))[0]
    assert (3 * known[:, 1]).tolist() == pytest.approx([0, 1, 0, 2])


def test_lists_of_a_batch_and_their_padding_are_kept_apart() -> None:
    lists = [[Item((0, 1), (1.0, 2.0, 3.0), (1.0, 0.0)), Item((0, 2), (0.0, 1.0, 1.0), (0.0, 1.0))] for _ in range(2)]
    lists[1][0] = Item((2, 2), (5.0, 5.0, 5.0), (1.0, 1.0))
    parts = [tensors(items) for items in lists]
    both = Items(*(torch.stack(pair) if pair[0] is not None else None for pair in zip(*parts, strict=True)))  # type: ignore[arg-type]
    torch.testing.assert_close(own_context(both), torch.stack([own_context(part) for part in parts]))


def test_the_first_item_has_no_context() -> None:
    found = own_context(tensors([Item((1, 1), (3.0, -2.0, 1.0), (1.0, 2.0))]))
    assert found.shape == (1, 15)
    assert not found.any()


def test_items_without_embeddings_are_like_nothing() -> None:
    plain = Item((0, 0), (0.0, 0.0, 0.0), (0.0, 0.0))
    shown = Item((0, 0), (0.0, 0.0, 0.0), (-1.0, 0.0))
    opposite = Item((0, 0), (0.0, 0.0, 0.0), (1.0, 0.0))
    found = own_context(tensors([plain, opposite, shown, plain]))[:, -3:]
    assert found.tolist() == [[0, 0, 0], [0, 0, 0], [0, -0.5, -1], [0, 0, 0]]


@pytest.mark.parametrize(("spec", "width"), [(SPEC, 3 * 2 + 2 * 4), (SCORES_ONLY, 2)])
@pytest.mark.parametrize("cosines", [False, True])
def test_the_layout_counts_what_there_is(spec: FeatureSpec, width: int, cosines: bool) -> None:
    n = 3
    batch: dict[str, Tensor] = {
        "item_ids": torch.zeros(1, n, len(spec.item_categoricals), dtype=torch.int64),
        "item_numbers": torch.zeros(1, n, len(spec.item_numbers)),
        "item_scores": torch.zeros(1, n, len(spec.scores)),
        "embeddings": torch.zeros(1, n, 4),
    }
    found = own_context(Items.of(batch, spec, cosines=cosines))
    assert found.shape[-1] == ContextLayout.of(spec, cosines=cosines).width == width + 3 * cosines
