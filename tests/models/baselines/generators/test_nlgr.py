"""NLGR's search for moves, of all lists at once, against one that looks at a list at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.baselines.generators.lists import gumbel, prior_list, repeat_requests
from models.baselines.generators.nlgr import Candidates, NLGRGenerator
from models.data.batches import Batch
from tests.models.baselines.generators.slates import CANDIDATES, CONFIG, CPU, build, longer, make_slates, unfit

SPEC, SLATES = make_slates(5)
LENGTH = 4
MASKS = st.lists(
    st.lists(st.booleans(), min_size=CANDIDATES, max_size=CANDIDATES).filter(any), min_size=5, max_size=5
).map(torch.tensor)


def nlgr(seed: int) -> NLGRGenerator:
    model = build("nlgr", SPEC, longer(CONFIG, LENGTH), seed=seed)
    assert isinstance(model, NLGRGenerator)
    return model


class PlainList:
    """One list on its way, whose request's features stand alone in a batch."""

    def __init__(self, model: NLGRGenerator, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self.slots: list[int] = prior_list(batch, LENGTH)[0].tolist()
        self.open = {place for place, item in enumerate(self.slots) if item >= 0}

    def look(self, place_noise: Tensor, item_noise: Tensor) -> None:
        """Look at the best open place, and put the best candidate there."""
        if not self.open:
            return
        candidates, mine = self.model.candidates(self.batch), torch.tensor([0])
        slots = torch.tensor([self.slots])
        places = self.model.position_logits(candidates, mine, slots)[0] + place_noise
        place = max(self.open, key=lambda p: places[p].item())
        logits = self.model.candidate_logits(candidates, mine, slots, torch.tensor([place]))[0] + item_noise
        old, new = self.slots[place], int(logits.argmax())
        if old != new:
            self.slots = [old if item == new else item for item in self.slots]
            self.slots[place] = new
            self.open = {p for p, item in enumerate(self.slots) if item >= 0}
        self.open.discard(place)


def plain(model: NLGRGenerator, batch: Batch, count: int, *, draw: bool) -> Tensor:
    """Change every list by itself, each with its own row of the noise that all lists draw together."""
    repeated = repeat_requests(batch, count)
    n = len(repeated["valid"])
    lists = [PlainList(model, {name: values[i : i + 1] for name, values in repeated.items()}) for i in range(n)]
    for _ in range(4 * LENGTH):
        if not any(one.open for one in lists):
            break
        place_noise, item_noise = torch.zeros(n, LENGTH), torch.zeros(n, CANDIDATES)
        if draw:
            place_noise, item_noise = gumbel(place_noise), gumbel(item_noise)
        for one, places, items in zip(lists, place_noise, item_noise, strict=True):
            one.look(places, items)
    return torch.tensor([one.slots for one in lists]).view(-1, count, LENGTH)


@settings(max_examples=12, deadline=None)
@given(valid=MASKS, seed=st.integers(0, 50))
def test_all_lists_move_as_each_would_alone(valid: Tensor, seed: int) -> None:
    model, batch = nlgr(seed), unfit(SLATES, valid)
    with torch.inference_mode():
        assert torch.equal(model.generate(batch, LENGTH), plain(model, batch, 1, draw=False)[:, 0])


@pytest.mark.long
@settings(max_examples=8, deadline=None)
@given(valid=MASKS, seed=st.integers(0, 50))
def test_drawn_lists_are_those_that_the_same_noise_gives_alone(valid: Tensor, seed: int) -> None:
    model, batch = nlgr(seed), unfit(SLATES, valid)
    torch.manual_seed(seed)
    found = model.sample(batch, LENGTH, 3)
    torch.manual_seed(seed)
    with torch.inference_mode():
        assert torch.equal(found, plain(model, batch, 3, draw=True))


@pytest.mark.long
def test_lists_do_move_and_some_take_more_looks_than_they_have_places() -> None:
    """So that the tests above compare more than the prior sort."""
    looks: list[int] = []
    batch = SLATES.tensors(CPU)
    for seed in range(20):
        model = nlgr(seed)
        for i in range(5):
            one = PlainList(model, {name: values[i : i + 1] for name, values in batch.items()})
            for count in range(1, 4 * LENGTH + 1):
                with torch.inference_mode():
                    one.look(torch.zeros(LENGTH), torch.zeros(CANDIDATES))
                if not one.open:
                    looks.append(count)
                    break
    assert max(looks) > LENGTH


def test_no_unit_reads_a_list_of_a_request_twice() -> None:
    """Changes lead back to lists that were read before, and drawn lists of a request meet."""
    model, batch = nlgr(3), SLATES.tensors(CPU)
    read: list[tuple[Any, ...]] = []

    def noting(unit: Callable[..., Tensor], candidates: Candidates, *columns: Tensor) -> Tensor:
        read.extend((unit.__name__, *row) for row in torch.cat([c.view(len(c), -1) for c in columns], dim=1).tolist())
        return unit(candidates, *columns)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("position_logits", "candidate_logits"):
            patch.setattr(model, name, partial(noting, getattr(model, name)))
        model.sample(batch, LENGTH, 6)
    assert len(read) == len(set(read)) > 0


def test_the_unit_of_candidates_compares_a_place_with_every_candidate_and_its_position() -> None:
    model, batch = nlgr(1), SLATES.tensors(CPU)
    with torch.inference_mode():
        candidates = model.candidates(batch)
        for place in range(LENGTH):
            position = model.position.weight[place].expand_as(candidates.rows)
            offered = model.candidate(torch.cat([candidates.rows, position], dim=-1))
            torch.testing.assert_close(candidates.offers[:, place], offered)


def test_places_past_an_end_and_padding_are_never_chosen() -> None:
    model, batch = nlgr(2), unfit(SLATES, torch.tensor([[True, False, True, False, False, False]] * 5))
    with torch.inference_mode():
        candidates, everyone = model.candidates(batch), torch.arange(5)
        lists = prior_list(batch, LENGTH)
        assert (model.position_logits(candidates, everyone, lists)[:, 2:] == -torch.inf).all()
        logits = model.candidate_logits(candidates, everyone, lists, torch.zeros(5, dtype=torch.int64))
    assert (logits[:, [1, 3, 4, 5]] == -torch.inf).all()
    assert torch.isfinite(logits[:, [0, 2]]).all()
