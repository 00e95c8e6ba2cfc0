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
from models.nets.context import Affinity, ContextLayout, Items, context_features, own_context
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


AFFINE = FeatureSpec(item=(Category("colour", ("red", "blue", "green")), Category("size", ("s", "m", "l"))))
RANK = 2


def affinity() -> Affinity:
    """Affinities whose factors are far from those that training starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Affinity(AFFINE, RANK).double()
        torch.nn.init.normal_(made.earlier.weight)
    return made.requires_grad_(False)


MADE = affinity()


def tensors(items: Sequence[Item], *, cosines: bool = True, affine: bool = False) -> Items:
    """The items as the model's batch has them: [n, …]. An id is the value's row, 4 to a field."""
    ids = [[-1 if v is None else 4 * c + 1 + v for c, v in enumerate(item.values)] for item in items]
    rows = torch.tensor(ids).view(len(items), -1)
    return Items(
        rows,
        torch.tensor([item.numbers for item in items], dtype=torch.float64).view(len(items), -1),
        torch.tensor([unit(item.embedding) for item in items], dtype=torch.float64) if cosines else None,
        MADE(rows) if affine else None,
    )


def together(field: int, later: int | None, earlier: int | None) -> float:
    """The affinity of two values of a field."""
    if later is None or earlier is None:
        return 0.0
    rows = MADE.later.weight[4 * field + 1 + later], MADE.earlier.weight[4 * field + 1 + earlier]
    return sum(float(a) * float(b) for a, b in zip(*rows, strict=True))


def slow(item: Item, before: Sequence[Item], *, cosines: bool = True, affine: bool = False) -> list[float]:
    """The features of an item behind those `before` it, one comparison at a time."""
    if not before:
        return [0.0] * ((3 + 3 * affine) * len(item.values) + 2 * len(item.numbers) + 3 * cosines)
    found: list[float] = []
    for some in (before, before[-3:], before[-1:]):
        for c, value in enumerate(item.values):
            found.append(sum(value is not None and other.values[c] == value for other in some) / 3)
    for f, number in enumerate(item.numbers):
        found.append(number - sum(other.numbers[f] for other in before) / len(before))
    for f, number in enumerate(item.numbers):
        found.append(abs(number - before[-1].numbers[f]))
    for some in (before, before[-3:], before[-1:]) if affine else ():
        for c, value in enumerate(item.values):
            found.append(sum(together(c, value, other.values[c]) for other in some) / 3)
    if cosines:
        products = [
            sum(a * b for a, b in zip(unit(item.embedding), unit(other.embedding), strict=True)) for other in before
        ]
        found += [max(products), sum(products) / len(products), products[-1]]
    return found


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(items=LISTS, cosines=st.booleans(), affine=st.booleans())
def test_every_item_of_a_list_is_compared_with_those_before_it(items: list[Item], cosines: bool, affine: bool) -> None:
    found = own_context(tensors(items, cosines=cosines, affine=affine))
    expected = [slow(item, items[:j], cosines=cosines, affine=affine) for j, item in enumerate(items)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(before=st.lists(ITEMS, max_size=6), next_items=st.lists(ITEMS, min_size=1, max_size=4))
def test_many_alternatives_are_compared_with_one_list(before: list[Item], next_items: list[Item]) -> None:
    empty = tensors([Item((0, 0), (0.0, 0.0, 0.0), (1.0, 0.0))], affine=True)
    earlier = tensors(before, affine=True) if before else empty.take(torch.arange(0))
    found = context_features(tensors(next_items, affine=True), earlier, torch.arange(len(before), 0, -1)[None])
    expected = [slow(item, before, affine=True) for item in next_items]
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


def test_an_affinity_is_directed_and_unknown_values_have_none() -> None:
    spec = FeatureSpec(item=(Category("colour", ("red", "blue")), Hashed("brand", 5)), scores=(Number("ctr"),))
    model = Affinity(spec, 1)
    with torch.no_grad():  # of the rows 0 to 2 of colours: blue behind red, and what must be ignored
        model.later.weight[:, 0] = torch.tensor([5.0, 0.0, 3.0, 5.0, *[0.0] * 5])
        model.earlier.weight[:, 0] = torch.tensor([5.0, 1.0, 0.0, 5.0, *[0.0] * 5])
    unknown, red, blue = 0, 1, 2
    ids = torch.tensor([[[red, 3], [blue, 3], [red, 4], [unknown, 3], [blue, 3]]])
    batch = {"item_ids": ids, "item_numbers": torch.zeros(1, 5, 0), "item_scores": torch.zeros(1, 5, 1)}
    items = Items.of(batch, spec, cosines=False)
    found = own_context(items._replace(factors=model(items.ids)))[0, :, -6:]
    assert found[:, 0].tolist() == pytest.approx([0, 1, 0, 0, 2])  # 3 / 3 for each red item before
    assert found[:, 2].tolist() == pytest.approx([0, 1, 0, 0, 1])  # one of which is too long ago
    assert found[:, 4].tolist() == pytest.approx([0, 1, 0, 0, 0])
    assert not found[:, 1::2].any()  # the unknown brand, row 3


def test_affinities_are_nothing_at_first_and_can_be_learnt() -> None:
    made, items = (
        Affinity(AFFINE, 4),
        tensors([Item((1, 2), (0.0,) * 3, (1.0, 0.0)), Item((0, 2), (0.0,) * 3, (1.0, 0.0))]),
    )
    found = own_context(Items(items.ids, items.numbers.float(), None, made(items.ids)))[:, -6:]
    assert not found.any()
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert made.earlier.weight.grad is not None
    assert made.earlier.weight.grad[[2, 7]].any(dim=1).all()
    assert not made.earlier.weight.grad[[0, 1, 3, 4, 5, 6]].any()


@pytest.mark.parametrize(("affine", "least", "most"), [(False, 0.5, 0.55), (True, 0.3, 0.4)])
def test_affinities_learn_which_value_follows_which_and_equal_values_do_not(
    affine: bool, least: float, most: float
) -> None:
    """Of four values in a ring, one that stands right behind the one before it in the ring is liked."""
    torch.manual_seed(0)
    spec = FeatureSpec(item=(Category("colour", tuple("abcd")),))
    values = torch.randint(4, (2000, 3))
    follows = torch.zeros(2000, 3, dtype=torch.bool)
    follows[:, 1:] = (values[:, 1:] - values[:, :-1]) % 4 == 1
    liked = (torch.rand(2000, 3) < torch.where(follows, 0.9, 0.1)).float()
    items = Items(values[..., None] + 1, torch.zeros(2000, 3, 0), None)
    made, readout = Affinity(spec, 4), torch.nn.Linear(ContextLayout.of(spec, cosines=False, affinity=affine).width, 1)
    optimizer = torch.optim.Adam([*made.parameters(), *readout.parameters()], lr=0.05)
    for _ in range(150):
        logits = readout(own_context(items._replace(factors=made(items.ids)) if affine else items))[..., 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, liked)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert least < loss.item() < most  # 0.33 if all is known


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
@pytest.mark.parametrize("rank", [0, 3])
def test_the_layout_counts_what_there_is(spec: FeatureSpec, width: int, cosines: bool, rank: int) -> None:
    n = 3
    batch: dict[str, Tensor] = {
        "item_ids": torch.zeros(1, n, len(spec.item_categoricals), dtype=torch.int64),
        "item_numbers": torch.zeros(1, n, len(spec.item_numbers)),
        "item_scores": torch.zeros(1, n, len(spec.scores)),
        "embeddings": torch.zeros(1, n, 4),
    }
    layout = ContextLayout.of(spec, cosines=cosines, affinity=rank)
    items = Items.of(batch, spec, cosines=cosines)
    if layout.affinities:
        items = items._replace(factors=Affinity(spec, rank)(items.ids))
    affine = 3 * len(spec.item_categoricals) if rank else 0
    assert own_context(items).shape[-1] == layout.width == width + affine + 3 * cosines
