"""Local search against a hand-written one, and the soft labels of lists that no beam found."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.batches import Batch
from models.nets.value import ListValueModel
from models.planners.search.beam import beam_search
from models.planners.search.local_search import improve, soft_labels
from models.planners.worth import RequestWorth, Worth
from tests.models.planners.plain import MIXED, plain_worth, random_batch, small_model

SEEDS = st.integers(0, 999)


def neighbours(slots: list[int], n: int) -> list[list[int]]:
    """Every list with two items swapped, then every list with one replaced."""
    found = []
    for i in range(len(slots)):
        for j in range(i + 1, len(slots)):
            other = list(slots)
            other[i], other[j] = other[j], other[i]
            found.append(other)
    for i in range(len(slots)):
        found += [[*slots[:i], new, *slots[i + 1 :]] for new in range(n) if new not in slots]
    return found


def climb(model: ListValueModel, batch: Batch, request: int, slots: list[int], worth: Worth) -> list[int]:
    """Step to the best neighbour as long as there is a better one."""
    n = int(batch["valid"][request].sum())
    while True:
        here = plain_worth(model, batch, request, slots, worth)
        best = max(neighbours(slots, n), key=lambda other: plain_worth(model, batch, request, other, worth))
        if plain_worth(model, batch, request, best, worth) <= here + 1e-6 * max(1, abs(here)):
            return slots
        slots = best


@pytest.mark.long
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, starts=st.lists(st.permutations(range(5)), min_size=2, max_size=2))
def test_it_ends_where_a_plain_search_ends(seed: int, starts: list[list[int]]) -> None:
    model, batch = small_model(seed), random_batch([5, 6], seed)
    lists = torch.tensor([[row[:3] for row in starts]] * 2)
    ends = improve(model, batch, MIXED, lists)
    for r in range(2):
        for k, row in enumerate(starts):
            assert ends[r, k].tolist() == climb(model, batch, r, row[:3], MIXED)


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, rounds=st.integers(0, 2))
def test_no_list_loses_and_more_rounds_never_hurt(seed: int, rounds: int) -> None:
    model, batch = small_model(seed).float(), in_float(random_batch([5, 5], seed))
    starts = torch.tensor([[[0, 1, 2], [4, 2, 0]]] * 2)
    fewer, more = (improve(model, batch, MIXED, starts, rounds=n) for n in (rounds, rounds + 1))
    for r in range(2):
        for k in range(2):
            values = [plain_worth(model, batch, r, x[r, k].tolist(), MIXED) for x in (starts, fewer, more)]
            assert values[0] <= values[1] + 1e-6
            assert values[1] <= values[2] + 1e-6
    assert starts.tolist() == [[[0, 1, 2], [4, 2, 0]]] * 2


def in_float(batch: Batch) -> Batch:
    return {name: values.float() if values.is_floating_point() else values for name, values in batch.items()}


def test_requests_may_value_outcomes_differently() -> None:
    model, batch = small_model(4), random_batch([5, 5], 4)
    units = (0.5, 0.1, 3.0)
    wishes = [Worth((1.0, 0.0, 0.0), units), Worth((0.0, 0.0, 1.0), units)]
    ends = improve(
        model, batch, RequestWorth(torch.tensor([w.weights for w in wishes]), units), torch.tensor([[[0, 1, 2]]] * 2)
    )
    for r, wish in enumerate(wishes):
        assert ends[r, 0].tolist() == climb(model, batch, r, [0, 1, 2], wish)


def test_blank_rows_stay_blank_and_short_lists_short() -> None:
    lists = torch.tensor([[[-1, -1, -1], [3, -1, -1], [3, 1, -1]]])
    ends = improve(small_model(), random_batch([4], 0), MIXED, lists)
    assert (ends[0] >= 0).tolist() == (lists[0] >= 0).tolist()


def test_a_list_without_neighbours_stays() -> None:
    assert improve(small_model(), random_batch([1], 0), MIXED, torch.tensor([[[0]]])).tolist() == [[[0]]]


def test_candidates_that_are_all_equal_leave_the_list_as_it_is() -> None:
    batch = {n: v if n.startswith("user") else v[:, :1].expand(1, 4, *v.shape[2:]) for n, v in
             random_batch([4], 0).items()}  # fmt: skip
    assert improve(small_model(), batch, MIXED, torch.tensor([[[2, 0, 1]]])).tolist() == [[[2, 0, 1]]]


def test_truncation_limits_what_may_come_in() -> None:
    model, batch = small_model(6), random_batch([6], 6)
    alone = sorted(range(6), key=lambda i: -plain_worth(model, batch, 0, [i], Worth()))
    end = improve(model, batch, Worth(), torch.tensor([[[alone[5], alone[4]]]]), top_k=1, rounds=1)[0, 0].tolist()
    assert set(end) <= {alone[5], alone[4], alone[0]}


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, top_k=st.sampled_from([None, 2]))
def test_soft_labels_of_a_beams_lists_are_the_beams(seed: int, top_k: int | None) -> None:
    model, batch = small_model(seed), random_batch([4, 5], seed)
    beams = beam_search(model, batch, MIXED, 3, 3, top_k)
    labels = soft_labels(model, batch, MIXED, beams.lists, top_k=top_k)
    torch.testing.assert_close(labels, beams.soft_labels)


def test_soft_labels_are_the_softmax_of_values_over_what_remains() -> None:
    model, batch = small_model(7), random_batch([4], 7)
    labels = soft_labels(model, batch, MIXED, torch.tensor([[[2, 0, -1]]]))[0, 0]
    powers = {i: math.exp(plain_worth(model, batch, 0, [2, i], MIXED)) for i in (0, 1, 3)}
    assert labels[1].tolist() == pytest.approx([powers.get(i, 0) / sum(powers.values()) for i in range(4)])
    assert labels[0].sum().item() == pytest.approx(1)
    assert labels[2].tolist() == [0, 0, 0, 0]


def test_a_list_that_truncation_would_not_find_has_its_own_items_among_its_labels() -> None:
    model, batch = small_model(8), random_batch([5], 8)
    worst = min(range(5), key=lambda i: plain_worth(model, batch, 0, [i], Worth()))
    labels = soft_labels(model, batch, Worth(), torch.tensor([[[worst]]]), top_k=1)[0, 0, 0]
    assert labels[worst] > 0
    assert len(labels.nonzero()) == 2
