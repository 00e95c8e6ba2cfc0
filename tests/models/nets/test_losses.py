"""The losses: against hand-worked numbers, the paper's indices in a plain loop, and chances of whole outcomes."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.nets.losses import (
    count_tails,
    entire_space_loss,
    listwise_loss,
    listwise_terms,
    ordered_hazards_loss,
    ordered_mask,
    ordered_regression_loss,
    ordered_targets,
    path_loss,
    path_terms,
)


def reference(logits: Tensor, labels: Tensor, lengths: list[int], observed: list[list[bool]]) -> float:
    """Equations 4 and 5 with i and j counted from 1, one term at a time."""
    total = 0.0
    batch, _, objectives, _ = logits.shape
    for b in range(batch):
        for o in range(objectives):
            if not observed[b][o]:
                continue
            for j in range(1, lengths[b] + 1):
                y = sum(float(labels[b, k, o]) for k in range(j))
                for i in range(1, j + 1):
                    p = 1 / (1 + math.exp(-float(logits[b, j - 1, o, i - 1])))
                    total -= math.log(p) if y >= i else math.log(1 - p)
    return total / batch


def test_a_list_worked_by_hand() -> None:
    # Two items, the second clicked: "≥1 click" is 0 then 1, "≥2" is 0; nothing is bought.
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, :, 0, 0] = torch.tensor([math.log(0.2 / 0.8), math.log(0.6 / 0.4)])
    logits[0, 1, 0, 1] = math.log(0.1 / 0.9)
    labels = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    loss = ordered_regression_loss(logits, labels, torch.tensor([2]), torch.tensor([[True, True]]))
    click = -math.log(0.8) - math.log(0.6) - math.log(0.9)
    assert float(loss) == pytest.approx(click + 3 * math.log(2))


def test_targets_are_cumulative_counts_against_thresholds() -> None:
    labels = torch.tensor([[[1.0], [0.0], [1.0]]])
    assert ordered_targets(labels)[0, :, 0].tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0]]


@given(seed=st.integers(0, 10_000), length=st.integers(1, 6), batch=st.integers(1, 4))
def test_the_loss_equals_the_plain_loop(seed: int, length: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, length, 2, length, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (batch, length, 2), generator=generator).double()
    lengths = torch.randint(0, length + 1, (batch,), generator=generator)
    observed = torch.randint(0, 2, (batch, 2), generator=generator).bool()
    loss = ordered_regression_loss(logits, labels, lengths, observed)
    assert float(loss) == pytest.approx(reference(logits, labels, lengths.tolist(), observed.tolist()))


def test_nothing_flows_into_impossible_thresholds_unseen_positions_and_unrecorded_objectives() -> None:
    logits = torch.randn(2, 5, 2, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    lengths, observed = torch.tensor([3, 5]), torch.tensor([[True, False], [True, True]])
    ordered_regression_loss(logits, torch.ones(2, 5, 2), lengths, observed).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    mask = ordered_mask(lengths, observed, 5)
    assert torch.equal(logits.grad != 0, mask)
    assert mask[0, 3:].sum() == mask[0, :, 1].sum() == mask[1, 0, 0, 1:].sum() == 0
    assert mask.sum() == 6 + 15 + 15


def test_an_extreme_logit_keeps_the_loss_finite() -> None:
    logits = torch.full((1, 1, 1, 1), -1e4)
    loss = ordered_regression_loss(logits, torch.ones(1, 1, 1), torch.tensor([1]), torch.tensor([[True]]))
    assert float(loss) == pytest.approx(1e4)


def chance_of(logits: list[list[float]], outcome: tuple[int, ...]) -> float:
    """The chance of one outcome [T] under hazards [T, K] by the number of events before."""
    chance, before = 1.0, 0
    for row, event in zip(logits, outcome, strict=False):
        hazard = 1 / (1 + math.exp(-row[min(before, len(row) - 1)]))
        chance *= hazard if event else 1 - hazard
        before += event
    return chance


@pytest.mark.parametrize("states", [1, 2, 3, 6])
def test_the_path_loss_is_minus_the_log_chance_of_what_happened(states: int) -> None:
    logits = 2 * torch.randn(4, states, generator=torch.Generator().manual_seed(states), dtype=torch.float64)
    total = 0.0
    for outcome in product((0, 1), repeat=4):
        labels = torch.tensor(outcome, dtype=torch.float64)[None, :, None]
        loss = float(path_loss(logits[None, :, None], labels, torch.tensor([4]), torch.tensor([[True]])))
        assert loss == pytest.approx(-math.log(chance_of(logits.tolist(), outcome)))
        total += math.exp(-loss)
    assert total == pytest.approx(1)


@given(seed=st.integers(0, 10_000), length=st.integers(1, 5), batch=st.integers(1, 4), states=st.integers(1, 4))
def test_the_path_loss_of_a_batch_adds_objectives_and_averages_lists(
    seed: int, length: int, batch: int, states: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, length, 2, states, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (batch, length, 2), generator=generator).double()
    lengths = torch.randint(0, length + 1, (batch,), generator=generator)
    observed = torch.randint(0, 2, (batch, 2), generator=generator).bool()
    expected = 0.0
    for b in range(batch):
        for o in range(2):
            seen = tuple(labels[b, : lengths[b], o].int().tolist())
            expected -= math.log(chance_of(logits[b, :, o].tolist(), seen)) if observed[b, o] else 0.0
    assert float(path_loss(logits, labels, lengths, observed)) == pytest.approx(expected / batch, abs=1e-12)
    assert float(path_terms(logits, labels, lengths, observed).sum()) == pytest.approx(expected, abs=1e-12)


def test_the_path_loss_reaches_only_the_state_that_the_list_was_in() -> None:
    logits = torch.zeros(1, 4, 2, 2, requires_grad=True)
    labels = torch.tensor([[1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]).T[None]
    path_loss(logits, labels, torch.tensor([3]), torch.tensor([[True, False]])).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    reached = (logits.grad != 0)[0]
    assert reached[:, 0].tolist() == [[True, False], [False, True], [False, True], [False, False]]
    assert not reached[:, 1].any()


def test_the_listwise_loss_worked_by_hand() -> None:
    """Three items of scores ln 1, ln 2, ln 5, then one past the end: shares 1/8, 2/8, 5/8."""
    scores = torch.tensor([1.0, 2.0, 5.0, 99.0]).log()[None, :, None]
    lengths, observed = torch.tensor([3]), torch.tensor([[True]])

    def loss(*clicks: float) -> float:
        labels = torch.tensor(clicks)[None, :, None]
        # Only the first state's hazard ranks.
        logits = torch.stack([scores, torch.randn(1, 4, 1)], dim=-1)
        return float(listwise_loss(logits, labels, lengths, observed))

    assert loss(0, 1, 0, 0) == pytest.approx(math.log(4))
    assert loss(1, 0, 1, 0) == pytest.approx((math.log(8) + math.log(8 / 5)) / 2)
    assert loss(0, 0, 0, 0) == 0
    assert loss(0, 0, 0, 1) == 0


def test_the_listwise_loss_averages_over_all_lists_and_leaves_out_what_was_not_observed() -> None:
    logits = torch.zeros(4, 2, 2, 3)
    labels = torch.zeros(4, 2, 2)
    labels[0, 0] = labels[1, 1] = 1
    observed = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    lengths = torch.tensor([2, 2, 2, 0])
    terms = listwise_terms(logits[..., 0], labels, lengths, observed)
    torch.testing.assert_close(terms, math.log(2) * torch.tensor([[1.0, 1], [1, 0], [0, 0], [0, 0]]))
    assert float(listwise_loss(logits, labels, lengths, observed)) == pytest.approx(3 * math.log(2) / 4)


def test_the_listwise_loss_has_no_gradient_past_the_end_and_stays_finite() -> None:
    logits = torch.full((1, 3, 1, 1), -1e4, requires_grad=True)
    labels = torch.tensor([[[1.0], [0.0], [0.0]]])
    loss = listwise_loss(logits, labels, torch.tensor([2]), torch.tensor([[True]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert logits.grad[0, :, 0, 0].tolist() == pytest.approx([-0.5, 0.5, 0])


@pytest.mark.parametrize("states", [1, 2, 4])
def test_the_tails_of_a_count_are_those_of_all_outcomes_together(states: int) -> None:
    logits = 2 * torch.randn(4, states, generator=torch.Generator().manual_seed(states), dtype=torch.float64)
    tails = count_tails(logits[None, :, None])[0, :, 0]
    for j in range(4):
        for i in range(4):
            outcomes = [outcome for outcome in product((0, 1), repeat=j + 1) if sum(outcome) >= i + 1]
            assert float(tails[j, i]) == pytest.approx(sum(chance_of(logits.tolist(), o) for o in outcomes), abs=1e-12)


@given(seed=st.integers(0, 10_000), length=st.integers(1, 5), batch=st.integers(1, 3), states=st.integers(1, 4))
def test_the_ordered_loss_of_hazards_is_that_of_the_counts_they_imply(
    seed: int, length: int, batch: int, states: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, length, 2, states, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (batch, length, 2), generator=generator).double()
    lengths = torch.randint(0, length + 1, (batch,), generator=generator)
    observed = torch.randint(0, 2, (batch, 2), generator=generator).bool()
    # Thresholds that cannot be passed have a tail of 0; their logit is finite here, and the mask leaves them out.
    implied = torch.logit(count_tails(logits), eps=1e-9)
    expected = reference(implied, labels, lengths.tolist(), observed.tolist())
    assert float(ordered_hazards_loss(logits, labels, lengths, observed)) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_the_ordered_loss_of_hazards_teaches_exposed_places_of_observed_objectives_alone() -> None:
    logits = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels = torch.tensor([[[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]])
    loss = ordered_hazards_loss(logits, labels, torch.tensor([3]), torch.tensor([[True, False]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    # Before the first place there is no event, so its second state is never reached.
    assert (logits.grad[0, :, 0] != 0).tolist() == [[True, False], [True, True], [True, True], [False, False]]
    assert not logits.grad[0, :, 1].any()


def test_impossible_counts_keep_the_ordered_loss_of_hazards_finite() -> None:
    logits = torch.full((1, 3, 1, 2), -1e4, requires_grad=True)
    loss = ordered_hazards_loss(logits, torch.ones(1, 3, 1), torch.tensor([3]), torch.tensor([[True]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(loss.item())
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_a_purchase_in_entire_space_worked_by_hand() -> None:
    """Two items, pCTR ½ and ¼, pCVR ½ both; the first is clicked and bought, the second not clicked."""
    logits = torch.tensor([[[0.0, 0.0], [-math.log(3), 0.0]]])[..., None]
    labels = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    lengths, observed = torch.tensor([2]), torch.tensor([[True, True]])
    clicks, bought = math.log(2) + math.log(4 / 3), math.log(4) + math.log(8 / 7)
    assert float(entire_space_loss(logits, labels, lengths, observed)) == pytest.approx(clicks + bought)
    unseen = torch.tensor([[True, False]])
    assert float(entire_space_loss(logits, labels, lengths, unseen)) == pytest.approx(clicks)


@given(seed=st.integers(0, 10_000), length=st.integers(1, 4), batch=st.integers(1, 3))
def test_the_entire_space_loss_equals_the_plain_loop(seed: int, length: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, length, 2, 1, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (batch, length, 2), generator=generator).double()
    lengths = torch.randint(0, length + 1, (batch,), generator=generator)
    observed = torch.randint(0, 2, (batch, 2), generator=generator).bool()
    total = 0.0
    for b in range(batch):
        for j in range(int(lengths[b])):
            click, cvr = (1 / (1 + math.exp(-x)) for x in logits[b, j, :, 0].tolist())
            for o, p in enumerate((click, click * cvr)):
                if observed[b, o]:
                    total -= math.log(p) if labels[b, j, o] else math.log(1 - p)
    assert float(entire_space_loss(logits, labels, lengths, observed)) == pytest.approx(total / batch, abs=1e-9)


def test_in_entire_space_purchases_teach_clicks_and_nothing_comes_from_what_was_not_seen() -> None:
    logits = torch.zeros(2, 3, 2, 1, requires_grad=True)
    labels = torch.zeros(2, 3, 2)
    lengths, observed = torch.tensor([2, 3]), torch.tensor([[False, True], [True, False]])
    entire_space_loss(logits, labels, lengths, observed).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    # Both heads learn from a purchase that did not happen, the second never from clicks.
    assert (logits.grad[0, :, :, 0] != 0).tolist() == [[True, True], [True, True], [False, False]]
    assert (logits.grad[1, :, :, 0] != 0).tolist() == [[True, False]] * 3


def test_certain_logits_keep_the_entire_space_loss_finite() -> None:
    logits = torch.full((1, 1, 2, 1), 1e4, requires_grad=True)
    loss = entire_space_loss(logits, torch.zeros(1, 1, 2), torch.tensor([1]), torch.tensor([[True, True]]))
    assert float(loss.detach()) == pytest.approx(2 * math.log(1e6), rel=0.01)
