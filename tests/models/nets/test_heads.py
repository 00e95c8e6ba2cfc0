"""Heads: the chain of hazards against a count of all outcomes, the papers' sums, and one step at a time."""

from __future__ import annotations

from itertools import product
from typing import Final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.nets.heads import Context, CountHead, HazardHead, Head, HeadInput, PlaceHead

DIM: Final = 5
WIDTH: Final = 3
SIZES = {"length": st.integers(1, 5), "states": st.integers(1, 6), "seed": st.integers(0, 1000)}


def hazards(states: int, seed: int, context: Context = "full") -> HazardHead:
    """A head whose parts are all random, in double precision."""
    torch.manual_seed(seed)
    head = HazardHead(DIM, states=states, places=6, context=context, context_width=WIDTH, context_dim=4).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
        head.share.fill_(0.7)
    return head.requires_grad_(False)


def an_input(length: int, seed: int) -> HeadInput:
    torch.manual_seed(seed)
    x, prior, context = (torch.randn(length, *shape, dtype=torch.float64) for shape in ((DIM,), (), (WIDTH,)))
    return HeadInput(x, prior, context, torch.arange(length))


def part_of(item: HeadInput, row: int, *, place: int) -> HeadInput:
    """One row of an input, at a place of its own."""
    assert item.context is not None
    one = slice(row, row + 1)
    return HeadInput(item.x[one], item.prior[one], item.context[one], torch.tensor([place]))


def along(head: Head, logits: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Gains [T] and the state behind each place, from logits [T, K]."""
    state = head.start(logits[0, 0])
    gains, states = [], []
    for place, row in enumerate(logits):
        gain, state = head.advance(row, state, place)
        gains.append(gain)
        states.append(state)
    return torch.stack(gains), states


def enumerated(logits: Tensor) -> tuple[list[float], list[list[float]]]:
    """Expected events at each place and the distribution of min(count, K − 1) behind it, over all outcomes."""
    length, states = logits.shape
    chances = torch.sigmoid(logits).tolist()
    gains = [0.0] * length
    counts = [[0.0] * states for _ in range(length)]
    for outcome in product((0, 1), repeat=length):
        chance, state, passed = 1.0, 0, []
        for place, event in enumerate(outcome):
            hazard = chances[place][state]
            chance *= hazard if event else 1 - hazard
            state = min(state + event, states - 1)
            passed.append(state)
        for place, event in enumerate(outcome):
            gains[place] += chance * event
            counts[place][passed[place]] += chance
    return gains, counts


@given(**SIZES)
def test_gains_and_states_are_those_of_all_outcomes_together(length: int, states: int, seed: int) -> None:
    head = hazards(states, seed)
    with torch.no_grad():
        logits = head(an_input(length, seed))
        gains, behind = along(head, logits)
    expected, counts = enumerated(logits)
    assert gains.tolist() == pytest.approx(expected)
    for state, count in zip(behind, counts, strict=True):
        assert state.tolist() == pytest.approx(count)
    assert all(0 <= gain <= 1 for gain in gains.tolist())


def test_with_as_many_states_as_places_the_gains_are_the_mean_of_the_count() -> None:
    head = hazards(5, seed=3)
    with torch.no_grad():
        logits = head(an_input(4, 3))
        gains, behind = along(head, logits)
    assert float(gains.sum()) == pytest.approx(sum(i * q for i, q in enumerate(behind[-1].tolist())))


def test_a_count_past_the_last_state_keeps_the_last_states_hazard() -> None:
    logits = torch.tensor([[9e3, -9e3], [-9e3, 9e3], [-9e3, 9e3], [9e3, -9e3]])
    gains, behind = along(hazards(2, seed=0), logits)
    assert gains.tolist() == [1, 1, 1, 0]
    assert [state.tolist() for state in behind] == [[0, 1]] * 4


@pytest.mark.long
@given(**SIZES)
def test_one_place_at_a_time_gives_what_the_whole_list_gives(length: int, states: int, seed: int) -> None:
    for head in (hazards(states, seed), CountHead(DIM, 5).double(), PlaceHead(DIM).double()):
        item = an_input(length, seed)
        whole = head(item)
        for place in range(length):
            torch.testing.assert_close(head(part_of(item, place, place=place))[0], whole[place])


def test_many_alternatives_at_one_place_share_its_offset() -> None:
    head, item = hazards(3, seed=1), an_input(4, 1)
    together = head(item._replace(places=torch.tensor([2])))
    for k in range(4):
        torch.testing.assert_close(together[k], head(part_of(item, k, place=2))[0])


@torch.no_grad()
def context_part(head: HazardHead, z: Tensor) -> Tensor:
    """u(z) of one item, written out."""
    weights = {name: p for name, p in head.named_parameters() if name.startswith("context")}
    if not weights:
        return torch.zeros((), dtype=torch.float64)
    if "context.weight" in weights:
        return weights["context.weight"][0] @ z
    hidden = (weights["context.0.weight"] @ z + weights["context.0.bias"]).clamp(min=0)
    return weights["context.2.weight"][0] @ hidden


@pytest.mark.parametrize("context", ["none", "linear", "full"])
@pytest.mark.parametrize("seed", [2, 3])
def test_a_hazard_is_the_formula_term_by_term(context: Context, seed: int) -> None:
    head, item = hazards(3, seed, context), an_input(4, seed)
    assert item.context is not None
    logits = head(item)
    for t, (x, prior, z) in enumerate(zip(item.x, item.prior, item.context, strict=True)):
        hidden = (head.hidden.weight @ x).clamp(min=0)
        for i in range(3):
            weights = head.out.weight[0] + head.out_by_state.weight[i]
            base = max(0.0, float(head.skip)) * prior + float(head.state_offset[i] + head.place_offset[t])
            assert float(logits[t, i]) == pytest.approx(float(base + 0.7 * (weights @ hidden + context_part(head, z))))


def test_a_negative_slope_counts_as_none() -> None:
    head, item = hazards(2, seed=4), an_input(3, 4)
    with torch.no_grad():
        head.skip.fill_(-2.0)
    torch.testing.assert_close(head.base(item), head.base(item._replace(prior=torch.zeros(3, dtype=torch.float64))))


@pytest.mark.parametrize("context", ["none", "linear", "full"])
def test_a_new_head_is_its_calibrated_prior_and_one_without_a_share_stays_so(context: Context) -> None:
    item = an_input(4, 0)
    new = HazardHead(DIM, states=3, places=6, context=context, context_width=WIDTH, context_dim=4).double()
    with torch.no_grad():
        new.skip.fill_(0.5)
        new.place_offset.normal_()
    torch.testing.assert_close(new(item), new.base(item))
    trained = hazards(3, 0, context)
    assert (trained(item) - trained.base(item)).abs().max() > 0.1
    trained.share.zero_()
    torch.testing.assert_close(trained(item), trained.base(item))


def test_without_features_there_is_no_context_part() -> None:
    head = HazardHead(DIM, states=2, places=6, context="full", context_width=0, context_dim=4)
    assert head.context is None


def test_the_papers_gain_is_the_difference_of_sums_over_possible_thresholds() -> None:
    """p[i,j] = P(count in the first j ≥ i), E[j] = Σ_{i≤j} p[i,j]: worked with all four thresholds, j = 1 … 3."""
    logits = torch.tensor([[0.0, 9.0, 9.0, 9.0], [1.0, -1.0, 9.0, 9.0], [2.0, 0.5, -3.0, 9.0]])
    p = torch.sigmoid(logits)
    expected = [p[0, 0], p[1, :2].sum(), p[2, :3].sum()]
    gains, _ = along(CountHead(DIM, 4), logits)
    torch.testing.assert_close(gains.cumsum(0), torch.stack(expected))


def test_the_papers_head_may_fall_and_hazards_never_do() -> None:
    head = CountHead(DIM, 4)
    gains, _ = along(head, torch.tensor([[2.0, 0.0, 0.0, 0.0], [-2.0, -2.0, 0.0, 0.0]]))
    assert gains[1] < 0


def test_a_count_head_is_a_hidden_layer_with_relu_and_a_linear_one() -> None:
    head, x = CountHead(3, 2), torch.tensor([[1.0, -2.0, 0.5]])
    hidden = (head.hidden.weight @ x[0]).clamp(min=0)
    found = head(HeadInput(x, torch.zeros(1), None, torch.tensor([0])))
    torch.testing.assert_close(found[0], head.out.weight @ hidden + head.out.bias)


def test_a_place_head_gains_its_own_chance_whatever_stands_before() -> None:
    head, item = PlaceHead(DIM).double(), an_input(4, 2)
    with torch.no_grad():
        logits = head(item)
        gains, states = along(head, logits)
    assert logits.shape == (4, 1)
    torch.testing.assert_close(gains, torch.sigmoid(logits[:, 0]))
    backwards, _ = along(head, logits.flip(0))
    torch.testing.assert_close(backwards.flip(0), gains)
    assert all(state.tolist() == [0.0] for state in states)
