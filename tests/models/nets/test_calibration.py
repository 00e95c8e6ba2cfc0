"""The convex fit of a, b and c: it finds what made the data, whatever it starts from, and survives odd logs."""

from __future__ import annotations

from typing import Final

import pytest
import torch
from torch import Tensor

from models.nets.calibration import Offsets, Outcomes, calibrate
from models.nets.heads import HazardHead
from models.nets.losses import listwise_loss, path_loss

STATES: Final = 3
PLACES: Final = 4
SKIP: Final = 0.7
STATE = torch.tensor([-0.4, 0.5, 1.1])
PLACE = torch.tensor([0.3, 0.0, -0.4, -0.6])


def new_head(*, skip: float = 0.0, offset: float = 0.0) -> HazardHead:
    head = HazardHead(2, states=STATES, places=PLACES, context="none", context_width=0, context_dim=1)
    with torch.no_grad():
        head.skip.fill_(skip)
        head.state_offset.fill_(offset)
        head.place_offset.copy_(offset * torch.arange(PLACES))
    return head


def sampled(lists: int, seed: int = 0, correction: Tensor | None = None) -> tuple[Tensor, Outcomes]:
    """Prior logits and what happened in lists whose hazards are known; all lists are full."""
    random = torch.Generator().manual_seed(seed)
    prior = torch.randn(lists, PLACES, generator=random) - 1.0
    labels, state = torch.zeros(lists, PLACES), torch.zeros(lists, dtype=torch.int64)
    for j in range(PLACES):
        logits = SKIP * prior[:, j] + STATE[state] + PLACE[j]
        if correction is not None:
            logits = logits + correction[torch.arange(lists), j, state]
        labels[:, j] = torch.rand(lists, generator=random) < torch.sigmoid(logits)
        state = (state + labels[:, j].long()).clamp(max=STATES - 1)
    return prior, Outcomes(labels, torch.full((lists,), PLACES), torch.ones(lists, dtype=torch.bool))


def fitted(
    prior: Tensor, outcomes: Outcomes, head: HazardHead | None = None, **options: float | Tensor | None
) -> Offsets:
    head = new_head() if head is None else head
    calibrate(head, prior, outcomes, **{"listwise": 0.0, "skip": True, **options})  # type: ignore[arg-type]
    return Offsets.of(head)


def together(found: Offsets) -> Tensor:
    """b_i + c_j [K, L]: the level that is b's is as well c's."""
    return found.state[:, None] + found.place


def test_it_finds_what_made_the_data() -> None:
    found = fitted(*sampled(60_000))
    assert float(found.skip) == pytest.approx(SKIP, abs=0.03)
    torch.testing.assert_close(together(found), STATE[:, None] + PLACE, atol=0.08, rtol=0)


@pytest.mark.parametrize("listwise", [0.0, 0.5])
def test_the_answer_does_not_depend_on_where_it_starts(listwise: float) -> None:
    prior, outcomes = sampled(500)
    one = fitted(prior, outcomes, listwise=listwise)
    other = fitted(prior, outcomes, new_head(skip=3.0, offset=-1.5), listwise=listwise)
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=0)


@pytest.mark.parametrize("corrected", [False, True])
def test_no_other_offsets_are_more_likely(corrected: bool) -> None:
    """All logits of all states in the losses of training, plus what is expected before seeing data."""
    correction = torch.randn(400, PLACES, STATES, generator=torch.Generator().manual_seed(1)) if corrected else None
    prior, outcomes = sampled(400, correction=correction)
    found = fitted(prior, outcomes, listwise=3.0, correction=correction)
    seen = (outcomes.labels[..., None].double(), outcomes.lengths, outcomes.observed[:, None])

    def loss(a: Tensor, b: Tensor, c: Tensor) -> float:
        logits = (a * prior.double() + c)[..., None] + b
        logits = (logits if correction is None else logits + correction).unsqueeze(2)
        likelihood = (path_loss(logits, *seen) + 3.0 * listwise_loss(logits, *seen)) * len(prior)
        held = 5 * (b.diff().square().sum() + c.diff().square().sum())
        return float(likelihood + held + 0.02 * (b.square().sum() + c.square().sum() + (a - 1).square().sum()))

    exact = [part.double() for part in found]
    best = loss(*exact)
    for part in exact:
        for i in range(len(part)):
            for step in (-0.02, 0.02):
                part[i] += step
                assert loss(*exact) > best
                part[i] -= step


def test_the_state_before_a_place_counts_what_happened_before_it() -> None:
    outcomes = Outcomes(torch.tensor([[1.0, 0, 1, 1], [0, 0, 0, 1]]), torch.tensor([4, 4]), torch.tensor([True, True]))
    assert outcomes.reached(3).argmax(-1).tolist() == [[0, 1, 1, 2], [0, 0, 0, 0]]
    assert outcomes.reached(2).argmax(-1).tolist() == [[0, 1, 1, 1], [0, 0, 0, 0]]


def test_scores_that_say_the_opposite_get_no_slope() -> None:
    prior, outcomes = sampled(3000)
    found = fitted(-prior, outcomes)
    assert float(found.skip) == 0
    rate = float(torch.sigmoid(torch.tensor(float(together(found)[0, 0]))))
    assert rate == pytest.approx(float(outcomes.labels[:, 0].mean()), abs=0.02)


def test_the_slope_keeps_its_value_where_it_is_not_to_be_fitted() -> None:
    prior, outcomes = sampled(2000)
    kept = fitted(prior, outcomes, new_head(skip=0.25), skip=False)
    assert float(kept.skip) == pytest.approx(0.25)
    assert float(fitted(prior, outcomes).skip) > 0.5


def test_past_the_end_and_without_observation_nothing_is_learnt() -> None:
    prior, outcomes = sampled(3000)
    lengths = torch.where(torch.arange(3000) % 2 == 0, 2, 4)
    observed = torch.arange(3000) % 3 > 0
    cut = Outcomes(outcomes.labels, lengths, observed)
    noise = outcomes.labels.clone()
    noise[~observed] = 1 - noise[~observed]
    noise[:, 2:][lengths == 2] = 1
    for mine, theirs in zip(
        fitted(prior, cut, listwise=0.3), fitted(prior, Outcomes(noise, lengths, observed), listwise=0.3), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=0)


@pytest.mark.long
def test_what_a_correction_already_says_is_not_said_twice() -> None:
    random = torch.Generator().manual_seed(5)
    correction = torch.randn(40_000, PLACES, STATES, generator=random)
    prior, outcomes = sampled(40_000, correction=correction)
    found = fitted(prior, outcomes, correction=correction)
    assert float(found.skip) == pytest.approx(SKIP, abs=0.04)
    torch.testing.assert_close(together(found), STATE[:, None] + PLACE, atol=0.1, rtol=0)
    without = fitted(prior, outcomes)
    assert float(without.skip) < SKIP - 0.05
    # A correction that is the same everywhere only moves the level.
    shifted = fitted(*sampled(5000), correction=torch.full((5000, PLACES, STATES), 2.0))
    torch.testing.assert_close(together(shifted) + 2.0, together(fitted(*sampled(5000))), atol=0.02, rtol=0)


@pytest.mark.parametrize("labels", [0.0, 1.0])
@pytest.mark.parametrize("lists", [1, 300])
def test_a_log_in_which_always_the_same_happens_stays_finite(labels: float, lists: int) -> None:
    prior, outcomes = sampled(lists)
    same = Outcomes(torch.full((lists, PLACES), labels), outcomes.lengths, outcomes.observed)
    found = fitted(prior, same, listwise=0.5)
    level = float(found.skip) * prior + together(found)[0]
    assert all(part.isfinite().all() and part.abs().max() < 30 for part in found)
    assert (torch.sigmoid(level).mean() > 0.9) if labels else (torch.sigmoid(level).mean() < 0.2)


@pytest.mark.parametrize("score", [0.01, -0.01, -2.0, -13.8])
def test_scores_that_never_differ_are_taken_at_their_word(score: float) -> None:
    """The level is the offsets' to find: a slope fitted to it would blow up any other score."""
    _, outcomes = sampled(4000)
    found = fitted(torch.full((4000, PLACES), score), outcomes, listwise=0.5)
    assert 0 <= float(found.skip) < 1.5
    first = float(found.skip) * score + together(found)[0, 0]
    assert float(torch.sigmoid(first)) == pytest.approx(float(outcomes.labels[:, 0].mean()), abs=0.02)


def test_an_objective_that_no_list_records_leaves_the_prior_as_it_is() -> None:
    prior, outcomes = sampled(50)
    found = fitted(prior, Outcomes(outcomes.labels, outcomes.lengths, torch.zeros(50, dtype=torch.bool)))
    assert float(found.skip) == pytest.approx(1)
    assert together(found).abs().max() < 1e-3


def test_offsets_can_be_read_written_and_mixed() -> None:
    head = new_head(skip=-0.5, offset=1.0)
    mine = Offsets.of(head)
    assert mine.skip.tolist() == [0]
    theirs = Offsets(torch.tensor([2.0]), torch.zeros(STATES), torch.ones(PLACES))
    mine.towards(theirs, 0.25).put(head)
    assert head.skip.tolist() == [0.5]
    assert head.state_offset.tolist() == [0.75] * 3
    assert head.place_offset.tolist() == [0.25, 1.0, 1.75, 2.5]


def test_lists_that_are_cut_into_spans_give_the_same_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    correction = torch.randn(500, PLACES, STATES, generator=torch.Generator().manual_seed(3))
    log = sampled(500, correction=correction)
    whole = fitted(*log, listwise=0.5, correction=correction)
    monkeypatch.setattr("models.nets.calibration._PLACES", 170)  # 42 lists, so that the last span is shorter
    cut = fitted(*log, listwise=0.5, correction=correction)
    for mine, other in zip(cut, whole, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)
