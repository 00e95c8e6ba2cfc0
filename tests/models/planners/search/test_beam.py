"""Beam search against searches written out in plain Python on whole forward passes."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.batches import Batch
from models.nets.value import HeadKind, ListValueModel
from models.planners.search.beam import beam_search
from models.planners.worth import RequestWorth, Worth
from tests.models.planners.plain import MIXED, plain_outcomes, plain_worth, random_batch, small_model

SEEDS = st.integers(0, 999)
HEADS: st.SearchStrategy[HeadKind] = st.sampled_from(["independent", "hazard"])


def plain_beam(
    model: ListValueModel, batch: Batch, request: int, length: int, width: int, worth: Worth
) -> list[tuple[int, ...]]:
    n = int(batch["valid"][request].sum())
    beam: list[tuple[int, ...]] = [()]
    for _ in range(length):
        grown = [(*slots, i) for slots in beam for i in range(n) if i not in slots]
        beam = sorted(grown, key=lambda slots: -plain_worth(model, batch, request, slots, worth))[:width]
    return beam


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, sizes=st.lists(st.integers(3, 5), min_size=1, max_size=3), width=st.integers(1, 4))
def test_it_finds_what_a_plain_beam_search_finds(seed: int, sizes: list[int], width: int) -> None:
    model, batch = small_model(seed), random_batch(sizes, seed)
    lists = beam_search(model, batch, MIXED, 3, width).lists
    for r in range(len(sizes)):
        expected = plain_beam(model, batch, r, 3, width, MIXED)
        assert [tuple(row) for row in lists[r].tolist()] == expected


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, head=HEADS)
def test_a_beam_as_wide_as_all_lists_finds_the_best_of_them_in_order(seed: int, head: HeadKind) -> None:
    model, batch = small_model(seed, head=head), random_batch([4], seed)
    beams = beam_search(model, batch, MIXED, 3, 24)
    ranked = sorted(permutations(range(4), 3), key=lambda slots: -plain_worth(model, batch, 0, slots, MIXED))
    assert [tuple(row) for row in beams.lists[0].tolist()] == ranked


def test_width_one_takes_the_best_next_item_at_every_step() -> None:
    model, batch = small_model(5), random_batch([5], 5)
    chosen: list[int] = []
    for _ in range(4):
        left = [i for i in range(5) if i not in chosen]
        chosen.append(max(left, key=lambda i: plain_worth(model, batch, 0, [*chosen, i], Worth())))
    assert beam_search(model, batch, Worth(), 4, 1).lists[0, 0].tolist() == chosen


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, width=st.integers(1, 3))
def test_step_values_and_soft_labels_are_those_of_the_lists(seed: int, width: int) -> None:
    model, batch = small_model(seed), random_batch([4, 5], seed)
    beams = beam_search(model, batch, MIXED, 3, width)
    for r, n in enumerate((4, 5)):
        for b, slots in enumerate(beams.lists[r].tolist()):
            steps = MIXED(plain_outcomes(model, batch, r, slots))
            torch.testing.assert_close(beams.step_values[r, b], steps)
            for t in range(3):
                left = [i for i in range(n) if i not in slots[:t]]
                powers = {i: math.exp(plain_worth(model, batch, r, [*slots[:t], i], MIXED)) for i in left}
                expected = [powers.get(i, 0.0) / sum(powers.values()) for i in range(5)]
                assert beams.soft_labels[r, b, t].tolist() == pytest.approx(expected)


def test_requests_may_value_outcomes_differently() -> None:
    model, batch = small_model(1), random_batch([5, 5], 1)
    units = (0.5, 0.1, 3.0)
    wishes = [Worth((1.0, 0.0, 0.0), units), Worth((0.0, 0.0, 1.0), units)]
    both = RequestWorth(torch.tensor([w.weights for w in wishes]), units)
    beams = beam_search(model, batch, both, 3, 4)
    for r, wish in enumerate(wishes):
        alone = beam_search(model, {name: values[r : r + 1] for name, values in batch.items()}, wish, 3, 4)
        assert beams.lists[r].tolist() == alone.lists[0].tolist()


def test_of_equal_candidates_the_first_is_taken() -> None:
    model = small_model()
    batch = {n: v if n in ("user_ids", "user_numbers") else v[:, :1].expand(1, 4, *v.shape[2:]) for n, v in
             random_batch([4], 0).items()}  # fmt: skip
    assert beam_search(model, batch, Worth(), 3, 1).lists.tolist() == [[[0, 1, 2]]]


def test_a_request_with_fewer_lists_than_the_beam_is_wide_has_blank_rows() -> None:
    beams = beam_search(small_model(), random_batch([2, 4], 0), Worth(), 2, 5)
    assert sorted(beams.lists[0].tolist()) == [[-1, -1]] * 3 + [[0, 1], [1, 0]]
    assert beams.lists[0, 2:].tolist() == [[-1, -1]] * 3
    assert (beams.lists[1] >= 0).all()
    assert (beams.soft_labels[0, 2:] == 0).all()
    assert (beams.step_values[0, 2:] == 0).all()


def test_truncation_tries_the_candidates_that_are_worth_most_at_the_head() -> None:
    model, batch = small_model(2), random_batch([6], 2)
    alone = sorted(range(6), key=lambda i: -plain_worth(model, batch, 0, [i], Worth()))
    beams = beam_search(model, batch, Worth(), 3, 4, top_k=2)
    for b, slots in enumerate(beams.lists[0].tolist()):
        for t in range(3):
            tried = [i for i in alone if i not in slots[:t]][:2]
            assert beams.soft_labels[0, b, t].nonzero()[:, 0].tolist() == sorted(tried)
            assert slots[t] in tried


def test_truncation_that_drops_nothing_changes_nothing() -> None:
    model, batch = small_model(3), random_batch([5, 4], 3)
    assert beam_search(model, batch, Worth(), 3, 4, top_k=5).lists.equal(beam_search(model, batch, Worth(), 3, 4).lists)


def test_a_request_with_too_few_candidates_is_named() -> None:
    with pytest.raises(ValueError, match="request 1 has 2 candidates"):
        beam_search(small_model(), random_batch([4, 2], 0), Worth(), 3, 2)


@pytest.mark.parametrize("change", [{"width": 0}, {"length": 0}, {"top_k": 0}])
def test_sizes_that_make_no_sense_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be at least 1"):
        beam_search(small_model(), random_batch([4], 0), Worth(), **{"length": 2, "width": 2, **change})
