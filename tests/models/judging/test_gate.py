"""The gate keeps what held-out lists bear out: nothing of noise, some of the truth, less where places are guessed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.data.batches import ListArrays, encode_lists
from models.judging.gate import SHARES, TOLERANCE, Gate, HeldOut, choose_shares
from models.planners.worth import Worth
from models.training.loop import TrainOptions
from models.training.value_fit import Setup, new_model, settle, start_from_rates
from tests.models.specs import fit_spec
from tests.models.training.records import make_records
from tests.models.training.shops import CONFIG, SHOWN, Order, believe, believing, shop_records

CPU = torch.device("cpu")
CLICKS = Worth((1.0, 0.0, 0.0))
MIXED = [Worth((5.0, 1.0, 1.0), (0.3, 0.1, 1.0)), CLICKS, Worth((0.0, 1.0, 0.0))]


def gated(*parts: HeldOut) -> Gate:
    return choose_shares(parts, [CLICKS], device=CPU)


def logits(part: HeldOut) -> Tensor:
    with torch.inference_mode():
        found: Tensor = part.model.eval()(part.lists.tensors(CPU))
    return found


@pytest.mark.parametrize("order", ["random", "scores", "truth"])
@pytest.mark.parametrize("believed", [2.0, -2.0])
def test_of_a_correction_that_is_noise_nothing_is_kept(order: Order, believed: float) -> None:
    part = believing(shop_records(500, order=order, noise=1.0), believed)
    assert gated(part).shares == (0.0, 0.0)
    assert part.model.shares == {"click": 0.0, "conversion": 0.0}


@pytest.mark.parametrize("order", ["random", "scores"])
def test_where_the_list_truly_matters_some_is_kept(order: Order) -> None:
    part = believing(shop_records(500, effect=3.0, order=order), 3.0)
    gate = gated(part)
    assert gate.shares[0] >= 0.5
    assert gate.shares == gate.by_likelihood
    assert part.model.shares == {"click": gate.shares[0], "conversion": 0.0}


def test_a_correction_of_no_weight_at_all_keeps_nothing() -> None:
    """All shares are the same model then, but for rounding."""
    assert gated(believing(shop_records(300, effect=3.0), 0.0)).shares == (0.0, 0.0)


def trained(tmp_path: Path) -> tuple[HeldOut, Tensor, ListArrays]:
    """A model after two epochs, its logits before training, and the lists it was trained on."""
    records = make_records(60)
    spec = fit_spec(records)
    lists = encode_lists(records, spec, 4)
    config = replace(CONFIG, context="full", dropout=0.2)
    untrained = new_model(spec, config, lists, seed=0)
    start = start_from_rates(untrained, lists, listwise=0.5)
    before = logits(HeldOut.of(untrained, start, lists))
    options = TrainOptions(epochs=2, batch_size=16, learning_rate=1e-2)
    fitted = Setup(spec, config, options, CPU, 0.5).fit(lists, None, tmp_path, until=2)
    return HeldOut.of(fitted.model, fitted.start, lists), before, lists


def test_shares_lie_on_the_straight_line_from_the_calibrated_start_to_the_trained_model(tmp_path: Path) -> None:
    part, before, _ = trained(tmp_path)
    after = logits(part)
    assert (after - before).abs().max() > 0.1
    for click, conversion in ((0.0, 0.0), (1.0, 1.0), (0.5, 0.25)):
        part.set((click, conversion))
        expected = torch.lerp(before, after, torch.tensor([click, conversion])[:, None])
        torch.testing.assert_close(logits(part), expected, atol=1e-5, rtol=0)


def test_settling_moves_only_offsets_until_as_much_is_expected_as_happened(tmp_path: Path) -> None:
    part, before, lists = trained(tmp_path)
    part.set((0.0, 0.5))
    unsettled = logits(part)
    settle(part.model, lists, tuple(part.start))
    settled = logits(part)
    for objective, earlier in ((0, before), (1, unsettled)):  # of clicks nothing is kept, so they are at their start
        moved = settled[:, :, objective] - earlier[:, :, objective]
        torch.testing.assert_close(moved, moved[:1].expand_as(moved), atol=1e-5, rtol=0)  # alike for every list
        expected = part.model.gains(settled)[..., objective].sum()
        assert float(expected) == pytest.approx(float(lists.labels[..., objective].sum()), rel=0.1)


def test_only_where_the_shown_order_knows_more_is_there_a_veto() -> None:
    records = {order: shop_records(600, seed=1, effect=3.0, order=order, noise=1.0) for order in ("scores", "truth")}
    plain, vetoed = (gated(believing(records[order], 3.0)) for order in ("scores", "truth"))
    assert not plain.shown_knows_more
    assert plain.steps == []
    assert vetoed.shown_knows_more
    assert 0 < vetoed.shares[0] < vetoed.by_likelihood[0]


@pytest.mark.long
def test_the_way_down_lowers_one_share_a_step_until_no_figure_fails() -> None:
    part = believing(shop_records(600, seed=1, effect=3.0, order="truth", noise=1.0), 3.0)
    believe(part.model, 3.0, objective=1)
    gate = choose_shares([part], MIXED, device=CPU)
    walk = [step["shares"] for step in gate.steps]
    assert walk[0] == list(gate.by_likelihood)
    assert len(walk) > 2
    for higher, lower in pairwise(walk):
        notches = [SHARES.index(a) - SHARES.index(b) for a, b in zip(higher, lower, strict=True)]
        assert sorted(notches) == [0, 1]
    failing = [any(f["mean"] < 0 or f["low"] < -TOLERANCE for f in step["figures"]) for step in gate.steps]
    assert all(failing[:-1])
    assert failing[-1] == (not any(gate.shares))
    assert {(f["mix"], f["objective"]) for f in gate.steps[0]["figures"]} == {
        (0, "click"),
        (0, "conversion"),
        (1, "click"),
        (2, "conversion"),
    }


def test_an_objective_without_events_keeps_nothing() -> None:
    records = [replace(r, purchases=(0,) * SHOWN, gmv=(0.0,) * SHOWN) for r in shop_records(200, effect=3.0)]
    part = believing(records, 3.0)
    assert choose_shares([part], MIXED, device=CPU).shares[1] == 0


@pytest.mark.parametrize("clicks", [0, 1])
def test_a_log_with_a_click_at_most_keeps_nothing(clicks: int) -> None:
    records = [
        replace(r, clicks=(int(i < clicks), 0, 0, 0), purchases=None, gmv=None)
        for i, r in enumerate(shop_records(50, effect=3.0))
    ]
    assert gated(believing(records, 3.0)).shares == (0.0, 0.0)


def test_an_objective_that_cannot_be_valued_keeps_nothing() -> None:
    records = [
        replace(r, candidates=tuple(replace(c, scores={"ctr": c.scores["ctr"]}) for c in r.candidates))
        for r in shop_records(500, effect=3.0)
    ]
    part = believing(records, 3.0)
    believe(part.model, 3.0, objective=1)  # purchases follow clicks, so this is true as well
    assert part.model.valued_objectives == ("click",)
    gate = gated(part)
    assert gate.shares[0] > 0
    assert gate.shares[1] == 0


def test_parts_are_judged_together_and_all_get_the_shares() -> None:
    records = shop_records(400, seed=3, effect=2.0)
    whole = believing(records, 2.0)
    first, second = (replace(whole, lists=whole.lists.take(rows)) for rows in torch.arange(400).numpy().reshape(2, 200))
    assert gated(first, second).by_likelihood == gated(whole).by_likelihood
    # A part that is wrong by more than the other gains tips the choice, for both.
    right, wrong = believing(records[:100], 2.0), believing(records[100:], 2.0)
    believe(wrong.model, -6.0)
    assert gated(right).shares[0] > 0
    assert gated(right, wrong).shares == (0.0, 0.0)
    assert right.model.shares == wrong.model.shares == {"click": 0.0, "conversion": 0.0}


def test_without_lists_there_is_nothing_to_choose_on() -> None:
    part = believing(shop_records(20), 0.0)
    with pytest.raises(ValueError, match="no held-out lists"):
        gated(replace(part, lists=part.lists.take(torch.arange(0).numpy())))
