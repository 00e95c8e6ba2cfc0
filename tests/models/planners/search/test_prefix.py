"""The tree of prefixes gives the numbers of whole forward passes, however lists share their beginnings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.nets.heads import Context
from models.nets.value import HeadKind, InputBlock
from models.planners.search import prefix
from models.planners.search.exhaustive import all_lists
from models.planners.search.prefix import all_outcomes, list_outcomes
from models.planners.search.prefix_store import Alternatives, Prefixes
from tests.models.planners.plain import plain_outcomes, random_batch, small_model

HEADS: st.SearchStrategy[HeadKind] = st.sampled_from(["hazard", "hazard", "independent", "entire-space"])
BLOCKS: st.SearchStrategy[InputBlock] = st.sampled_from(["concat", "fields"])
CONTEXTS: st.SearchStrategy[Context] = st.sampled_from(["none", "linear", "full"])


@st.composite
def some_lists(draw: st.DrawFn) -> tuple[list[int], list[list[list[int]]]]:
    """Numbers of candidates, and per request equally many lists of any length up to 3, padded with −1."""
    sizes = draw(st.lists(st.integers(3, 5), min_size=1, max_size=3))
    count = draw(st.integers(1, 6))
    lists = []
    for n in sizes:
        full = [draw(st.permutations(range(n)))[:3] for _ in range(count)]
        lists.append([row[: draw(st.integers(0, 3))] for row in full])
    return sizes, [[row + [-1] * (3 - len(row)) for row in rows] for rows in lists]


@settings(max_examples=30, deadline=None)
@given(case=some_lists(), seed=st.integers(0, 99), head=HEADS, block=BLOCKS, context=CONTEXTS, cosines=st.booleans())
def test_every_prefix_has_the_value_of_a_whole_forward_pass(
    case: tuple[list[int], list[list[list[int]]]],
    seed: int,
    head: HeadKind,
    block: InputBlock,
    context: Context,
    cosines: bool,
) -> None:
    sizes, lists = case
    model = small_model(seed, head=head, block=block, context=context, cosines=cosines)
    batch = random_batch(sizes, seed)
    outcomes = list_outcomes(model, batch, torch.tensor(lists))
    for r, rows in enumerate(lists):
        for k, row in enumerate(rows):
            kept = [slot for slot in row if slot >= 0]
            expected = torch.zeros(3, 3, dtype=torch.float64)
            if kept:
                expected[: len(kept)] = plain_outcomes(model, batch, r, kept)
                expected[len(kept) :] = expected[len(kept) - 1]
            torch.testing.assert_close(outcomes[r, k], expected)


@pytest.mark.parametrize("chunk", [1, 7])
def test_work_in_small_parts_gives_the_same_numbers(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = small_model(), random_batch([5, 4], 0)
    lists = torch.tensor([[[0, 1, 2], [0, 1, 3], [4, 1, 2]], [[3, 2, 1], [3, 2, 0], [3, 0, -1]]])
    whole = list_outcomes(model, batch, lists)
    monkeypatch.setattr(prefix, "_TOKENS", chunk)
    monkeypatch.setattr(prefix, "_LISTS", chunk)
    torch.testing.assert_close(list_outcomes(model, batch, lists), whole)
    torch.testing.assert_close(all_outcomes(model, one_request(5), 3), all_by_lists(5, 3))


def test_lists_longer_than_what_counts_as_recent_have_the_values_of_whole_forward_passes() -> None:
    model, batch = small_model(1, horizon=7), random_batch([8], 1)
    slots = [5, 0, 7, 2, 1, 6, 3]
    found = list_outcomes(model, batch, torch.tensor([[slots]]))[0, 0]
    torch.testing.assert_close(found, plain_outcomes(model, batch, 0, slots))


@pytest.mark.parametrize("name", ["item_ids", "item_numbers", "item_scores", "priors", "embeddings"])
def test_values_depend_on_every_kind_of_input(name: str) -> None:
    model, batch = small_model(), random_batch([5], 0)
    lists = torch.tensor([[[4, 1, 3, 0]]])
    turned = {**batch, name: batch[name].flip(1)}
    assert (list_outcomes(model, turned, lists) - list_outcomes(model, batch, lists)).abs().max() > 1e-4


def test_an_objective_that_is_not_valued_brings_nothing() -> None:
    model, batch = small_model(), random_batch([4], 0)
    assert model.valued is not None
    model.valued.copy_(torch.tensor([1.0, 0.0]))
    found = list_outcomes(model, batch, torch.tensor([[[2, 0, 1]]]))
    assert (found[..., 0] > 0).all()
    assert (found[..., 1:] == 0).all()


def one_request(n: int) -> dict[str, torch.Tensor]:
    return {**random_batch([n], 3)}


def all_by_lists(n: int, length: int) -> torch.Tensor:
    lists = torch.tensor(all_lists(n, length))
    return list_outcomes(small_model(), one_request(n), lists[None])[0, :, -1]


@pytest.mark.parametrize(("n", "length"), [(1, 1), (4, 1), (4, 4), (5, 3)])
def test_all_lists_of_a_request_come_in_the_order_of_the_exhaustive_search(n: int, length: int) -> None:
    outcomes = all_outcomes(small_model(), one_request(n), length)
    torch.testing.assert_close(outcomes, all_by_lists(n, length))


def test_padding_among_the_candidates_is_no_candidate() -> None:
    model, batch = small_model(), random_batch([4, 6], 0)
    padded = {name: values[:1] for name, values in batch.items()}
    cut = {name: values if name.startswith("user") else values[:, :4] for name, values in padded.items()}
    torch.testing.assert_close(all_outcomes(model, padded, 2), all_outcomes(model, cut, 2))


def test_prefixes_that_lists_share_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    extend = prefix.PrefixTree.extend

    def counted(tree: prefix.PrefixTree, prefixes: Prefixes, items: torch.Tensor, *, last: bool) -> Alternatives:
        read.append(items.numel())
        return extend(tree, prefixes, items, last=last)

    monkeypatch.setattr(prefix.PrefixTree, "extend", counted)
    lists = torch.tensor([[[0, 1, 2], [0, 1, 3], [0, 2, 1], [0, 1, 2]]])
    list_outcomes(small_model(), random_batch([4], 0), lists)
    assert sum(read) == 1 + 2 + 3


def test_values_can_take_part_in_a_loss() -> None:
    values = list_outcomes(small_model(), random_batch([4], 0), torch.tensor([[[0, 1]]]))
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (values * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None


def test_lists_past_the_horizon_are_refused() -> None:
    with pytest.raises(ValueError, match="horizon 2"):
        list_outcomes(small_model(horizon=2), random_batch([4], 0), torch.tensor([[[0, 1, 2]]]))


def test_exhaustive_values_of_what_does_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="one request at a time, not 2"):
        all_outcomes(small_model(), random_batch([4, 4], 0), 2)
    with pytest.raises(ValueError, match="5 out of 4"):
        all_outcomes(small_model(), random_batch([4], 0), 5)
