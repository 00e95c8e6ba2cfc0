"""Every generator baseline gives valid lists, whatever its weights and whatever candidates are left."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.baselines.generators.goalrank import GoalRank
from models.baselines.generators.gref import GReF
from models.baselines.generators.groups import (
    GroupOptions,
    RewardedSlates,
    first_lists,
    neighbours,
    random_lists,
    score_groups,
)
from models.baselines.generators.lists import best_first, prior_list
from models.baselines.generators.nar4rec import contrastive_decoding
from models.baselines.generators.nlgr import NLGRGenerator, put
from models.baselines.generators.training import BASELINES, evaluator_calls, load_baseline
from models.baselines.prior_order import prior_ranks
from models.data.batches import Batch
from models.nets.checkpoint import CheckpointError
from tests.models.baselines.generators.slates import (
    CANDIDATES,
    CONFIG,
    CPU,
    LENGTH,
    build,
    is_valid,
    longer,
    make_slates,
    unfit,
)

SPEC, SLATES = make_slates(5)
MASKS = st.lists(
    st.lists(st.booleans(), min_size=CANDIDATES, max_size=CANDIDATES).filter(any), min_size=5, max_size=5
).map(torch.tensor)
SAMPLERS = ("gref", "nlgr", "goalrank")


@pytest.mark.parametrize("name", BASELINES)
@settings(max_examples=8, deadline=None)
@given(valid=MASKS, length=st.integers(1, 8), seed=st.integers(0, 5))
def test_lists_hold_valid_candidates_once_and_end_only_when_none_is_left(
    name: str, valid: torch.Tensor, length: int, seed: int
) -> None:
    model = build(name, SPEC, longer(CONFIG, 8), seed=seed)
    lists = model.generate(unfit(SLATES, valid), length)
    assert lists.dtype == torch.int64
    assert lists.shape == (5, length)
    assert is_valid(lists, valid)


@pytest.mark.parametrize("name", SAMPLERS)
@settings(max_examples=8, deadline=None)
@given(valid=MASKS, seed=st.integers(0, 5))
def test_drawn_lists_are_valid_too(name: str, valid: torch.Tensor, seed: int) -> None:
    model = build(name, SPEC)
    assert isinstance(model, GReF | NLGRGenerator | GoalRank)
    torch.manual_seed(seed)
    drawn = model.sample(unfit(SLATES, valid), LENGTH, 6)
    assert drawn.shape == (5, 6, LENGTH)
    for lists in drawn.unbind(1):
        assert is_valid(lists, valid)


@pytest.mark.parametrize("name", BASELINES)
def test_a_list_longer_than_the_horizon_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="horizon 3"):
        build(name, SPEC).generate(SLATES.tensors(CPU), LENGTH + 1)


@pytest.mark.parametrize("name", BASELINES)
def test_the_order_in_which_candidates_come_does_not_matter(name: str) -> None:
    model, batch = build(name, SPEC), SLATES.tensors(CPU)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = {k: v[:, order] if k.startswith("item_") or k in ("price", "valid") else v for k, v in batch.items()}
    assert torch.equal(order[model.generate(shuffled, LENGTH)], model.generate(batch, LENGTH))


@pytest.mark.parametrize("name", BASELINES)
def test_padding_does_not_change_a_list(name: str) -> None:
    model, batch = build(name, SPEC), SLATES.tensors(CPU)
    batch["valid"][:, 4:] = False
    batch["item_scores"][:, 4:] = 7.0
    cut = {k: v[:, :4] if k.startswith("item_") or k in ("price", "valid") else v for k, v in batch.items()}
    assert torch.equal(model.generate(batch, LENGTH), model.generate(cut, LENGTH))


def test_goalrank_draws_lists_as_often_as_it_says() -> None:
    model, batch = build("goalrank", SPEC), {name: tensor[:1] for name, tensor in SLATES.tensors(CPU).items()}
    assert isinstance(model, GoalRank)
    torch.manual_seed(0)
    drawn = model.sample(batch, 2, 4000).clone()
    with torch.no_grad():
        steps = model(batch, drawn).gather(-1, drawn[..., None])[..., 0]
    lists, index, counts = drawn[0].unique(dim=0, return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    for i in range(len(lists)):
        chance = steps[0, index == i][0].sum().exp().item()
        assert counts[i].item() / 4000 == pytest.approx(chance, abs=4 * math.sqrt(chance / 4000) + 1e-3)


def test_the_prior_order_sorts_by_score_with_ties_as_they_come() -> None:
    scores = torch.tensor([[0.1, 0.5, 0.5, 0.9], [0.4, 0.3, 0.2, 0.1]])
    batch = {"item_scores": scores[..., None], "valid": torch.tensor([[True] * 4, [True, False, True, True]])}
    assert prior_list(batch, 5).tolist() == [[3, 1, 2, 0, -1], [0, 2, 3, -1, -1]]
    assert prior_ranks(batch).tolist() == [[3, 1, 2, 0], [0, 3, 1, 2]]


def test_without_scores_the_prior_order_is_the_request_s() -> None:
    batch = {"item_scores": torch.zeros(1, 3, 0), "valid": torch.tensor([[True, True, True]])}
    assert prior_list(batch, 2).tolist() == [[0, 1]]


def test_contrastive_decoding_passes_over_what_is_like_the_items_before() -> None:
    shares = torch.tensor([[[0.5, 0.4, 0.1], [0.5, 0.4, 0.1]]])
    cosines = torch.tensor([[[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    valid = torch.ones(1, 3, dtype=torch.bool)
    assert contrastive_decoding(shares, cosines, valid, 0.0).tolist() == [[0, 1]]
    # 0.5 · 0.4 − 0.5 · 0.9 < 0.5 · 0.1 − 0
    assert contrastive_decoding(shares, cosines, valid, 0.5).tolist() == [[0, 2]]


@settings(max_examples=20, deadline=None)
@given(valid=MASKS, seed=st.integers(0, 100))
def test_neighbours_are_valid_and_have_another_candidate_in_the_named_place(valid: torch.Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lists = random_lists(valid, 1, 4, generator)[:, 0]
    made, places = neighbours(lists, valid, generator)
    for j in range(4):
        assert is_valid(made[:, j], valid)
        for row in range(5):
            changed = (made[row, j] != lists[row]).nonzero()[:, 0].tolist()
            if places[row, j] < 0:
                assert changed == []
                assert lists[row, j] < 0 or valid[row].sum() == 1
            else:
                assert j in changed
                assert len(changed) <= 2


def test_an_item_from_elsewhere_in_the_list_swaps_places() -> None:
    lists = torch.tensor([[4, 2, 7], [4, 2, 7]])
    assert put(lists, torch.tensor([0, 0]), torch.tensor([7, 5])).tolist() == [[7, 2, 4], [5, 2, 7]]


def test_random_lists_are_uniform() -> None:
    valid = torch.tensor([[True, False, True, True]])
    drawn = random_lists(valid, 6000, 2, torch.Generator().manual_seed(0))[0]
    pairs, counts = drawn.unique(dim=0, return_counts=True)  # type: ignore[no-untyped-call]
    assert len(pairs) == 6
    assert counts.min() > 880
    assert counts.max() < 1120


def test_best_first_leaves_out_what_is_not_valid_even_if_its_score_is_highest() -> None:
    scores, valid = torch.tensor([[1.0, 9.0, 3.0]]), torch.tensor([[True, False, True]])
    assert best_first(scores, valid, 3).tolist() == [[2, 0, -1]]


def scored(options: GroupOptions) -> RewardedSlates:
    """Groups valued by the sum of their items' indices, the first counting double."""

    def scorer(batch: Batch) -> Callable[[torch.Tensor], torch.Tensor]:
        def score(lists: torch.Tensor) -> torch.Tensor:
            assert len(batch["valid"]) == len(lists)
            return lists.sum(-1) + lists[..., 0].double()

        return score

    starts = first_lists(SLATES, options, seed=1)
    return score_groups(SLATES, starts, scorer, options=options, seed=1, device=CPU)


def test_a_group_holds_the_exposed_list_the_prior_sort_and_neighbours_of_the_lists_that_it_names() -> None:
    options = GroupOptions(drawn=2, bases=2, rounds=3)
    rewarded = scored(options)
    assert rewarded.groups.shape == (5, options.size(LENGTH), LENGTH) == (5, 10, LENGTH)
    assert torch.equal(rewarded.groups[:, 0], torch.from_numpy(SLATES.exposed))
    assert torch.equal(rewarded.groups[:, 1], prior_list(SLATES.tensors(CPU), LENGTH))
    assert torch.equal(rewarded.values.double(), (rewarded.groups.sum(-1) + rewarded.groups[..., 0]).double())
    assert rewarded.edited.tolist() == [[-1, -1, -1, -1, 0, 1, 2, 0, 1, 2]] * 5
    assert (rewarded.bases[:, :4] == torch.arange(4)).all()
    assert (rewarded.bases[:, 4:7] == 1).all()
    # The second family's lists are neighbours of the best list that was known by then.
    assert torch.equal(rewarded.bases[:, 7], rewarded.values[:, :7].argmax(dim=1))


def test_groups_are_the_same_for_the_same_seed() -> None:
    assert scored(GroupOptions()).digest == scored(GroupOptions()).digest


@given(drawn=st.integers(1, 20), bases=st.integers(0, 3), rounds=st.integers(1, 6), length=st.integers(1, 20))
def test_one_group_made_at_once_takes_as_many_calls_as_all_rounds(
    drawn: int, bases: int, rounds: int, length: int
) -> None:
    options = GroupOptions(drawn, bases, rounds)
    assert options.at_once(length).size(length) == options.at_once(length).calls(length) == options.calls(length)


def test_all_methods_that_learn_from_an_evaluator_ask_it_equally_often() -> None:
    calls = {name: evaluator_calls(name, 6, epochs=20) for name in BASELINES}
    assert calls == {"prm": 0, "nar4rec": 0, "gref": 200, "nlgr": 200, "goalrank": 200}
    assert {evaluator_calls(name, 6, epochs=3) for name in ("gref", "nlgr", "goalrank")} == {60}


@pytest.mark.parametrize(("field", "value"), [("drawn", 0), ("bases", -1), ("rounds", 0)])
def test_group_options_out_of_range_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{field} must be at least"):
        GroupOptions(**{field: value})


def test_a_missing_baseline_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"baseline\.pt: there is no such file"):
        load_baseline(tmp_path, SPEC)
