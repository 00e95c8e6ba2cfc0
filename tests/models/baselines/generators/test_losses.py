"""The losses of the generator baselines against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from models.baselines.generators.goalrank import group_cross_entropy, reference_policy
from models.baselines.generators.gref import BETA, chosen_log_shares, dpo_loss, ordered_loss, pass_orders
from models.baselines.generators.nar4rec import contrastive_loss, unlikelihood_loss
from models.baselines.generators.nlgr import position_loss
from models.baselines.generators.prm import listwise_loss

LN2, LN3 = math.log(2), math.log(3)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_prm_takes_the_softmax_over_what_was_shown() -> None:
    scores = torch.tensor([[0.0, LN2, 5.0, 0.0]])  # candidate 2 was not shown
    lists, gains = torch.tensor([[1, 0, 3, -1]]), torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    # Shares 2/4, 1/4, 1/4; the clicked ones are the first and the last.
    assert listwise_loss(scores, lists, gains).item() == pytest.approx(-math.log(1 / 2) - math.log(1 / 4))


def test_nar4rec_raises_good_lists_and_lowers_bad_ones() -> None:
    shares = torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.6, 0.2]]]).log().expand(2, -1, -1)
    lists, good = torch.tensor([[0, 1], [0, -1]]), torch.tensor([True, False])
    expected = (-math.log(0.5) - math.log(0.6) - math.log(1 - 0.5)) / 2
    assert unlikelihood_loss(shares, lists, good).item() == pytest.approx(expected)


def test_nar4rec_pushes_rows_apart_up_to_the_margin() -> None:
    rows = torch.tensor([[[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [1.0, 0.0]]])
    keep = torch.tensor([[True, True, True, False]])
    # Cosines .8, 0 and .6, each twice: max(0, −.5 + cos) over six ordered pairs.
    assert contrastive_loss(rows, keep, 0.5).item() == pytest.approx(2 * (0.3 + 0.0 + 0.1) / 6)


def test_goalrank_s_reference_policy_is_the_softmax_of_standardised_values() -> None:
    values = torch.tensor([[3.0, 1.0, 3.0, 1.0]])  # mean 2, deviation 1
    e = math.e
    expected = [e / (2 * e + 2 / e), 1 / e / (2 * e + 2 / e)] * 2
    assert reference_policy(values)[0].tolist() == pytest.approx(expected)
    # Neither the scale nor an offset of the reward model matters.
    assert torch.allclose(reference_policy(values), reference_policy(100 * values + 7))


def test_goalrank_s_reference_policy_of_equal_values_is_uniform() -> None:
    assert reference_policy(torch.full((1, 4), 0.3))[0].tolist() == [0.25] * 4


def test_goalrank_minimises_the_cross_entropy_to_the_reference() -> None:
    values, log_lists = torch.tensor([[1.0, -1.0]]), torch.tensor([[-1.0, -2.0]])
    share = sigmoid(2.0)
    assert group_cross_entropy(log_lists, values).item() == pytest.approx(share * 1 + (1 - share) * 2)


def test_gref_s_shares_leave_out_what_was_chosen_before() -> None:
    logits = torch.tensor([0.0, LN2, LN3]).expand(1, 1, 3, 3)
    log_shares = chosen_log_shares(logits, torch.tensor([[[2, 0, -1]]]), torch.ones(1, 3, dtype=torch.bool))
    assert log_shares[0, 0].tolist() == pytest.approx([math.log(3 / 6), math.log(1 / 3), 0.0])


def test_gref_s_orders_sort_each_pass_by_feedback_alone() -> None:
    lists, gains = torch.tensor([[5, 6, 7, 8, -1]]), torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0]])
    best, worst = pass_orders(lists, gains, 3)
    assert best.tolist() == [[6, 5, 7, 8, -1]]
    assert worst.tolist() == [[5, 7, 6, 8, -1]]


def test_gref_s_ordered_loss_compares_whole_passes_that_differ() -> None:
    best, worst = torch.tensor([[-1.0, -1.0, -3.0]]), torch.tensor([[-2.0, -2.5, -9.0]])
    differs = torch.tensor([[True, False, False]])
    assert ordered_loss(best, worst, differs, 2).item() == pytest.approx(-math.log(sigmoid(-2.0 + 4.5)))


def test_gref_s_preferences_pair_the_upper_half_with_the_lower() -> None:
    values, ratios = torch.tensor([[1.0, 4.0, 3.0, 2.0]]), torch.tensor([[0.5, 2.0, -1.0, 1.0]])
    # 4 is preferred to 2, and 3 to 1.
    expected = -(math.log(sigmoid(BETA * (2.0 - 1.0))) + math.log(sigmoid(BETA * (-1.0 - 0.5)))) / 2
    assert dpo_loss(ratios, values).item() == pytest.approx(expected)


def test_gref_learns_nothing_from_pairs_of_equal_value() -> None:
    ratios = torch.tensor([[0.5, 2.0]], requires_grad=True)
    loss = dpo_loss(ratios, torch.tensor([[1.0, 1.0]]))
    assert loss.item() == 0.0


def test_nlgr_s_position_unit_aims_at_the_share_of_gains() -> None:
    logits = torch.tensor([[0.0, LN3, -torch.inf]])
    gains = torch.tensor([[3.0, 1.0, 0.0]])
    assert position_loss(logits, gains).item() == pytest.approx(-0.75 * math.log(1 / 4) - 0.25 * math.log(3 / 4))
