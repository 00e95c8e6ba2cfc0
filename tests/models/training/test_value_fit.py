"""One fit of a value model: where it starts, what it values, which loss it has, and that it learns what lists do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.batches import ListArrays, encode_lists
from models.data.records import ListRecord
from models.judging.value_report import predict, value_report
from models.nets.losses import (
    entire_space_loss,
    listwise_loss,
    ordered_hazards_loss,
    ordered_mask,
    ordered_regression_loss,
    ordered_targets,
    path_loss,
)
from models.nets.value import HeadKind, ListValueModel, ValueConfig
from models.training.loop import Progress, TrainOptions, mean_loss
from models.training.value_fit import LossKind, Setup, check_loss, loss_of, new_model, start_from_rates
from tests.models.specs import fit_spec
from tests.models.training.shops import CONFIG, SHOWN, shop_records

CPU = torch.device("cpu")
PAPERS = replace(CONFIG, head="independent")


def started(records: list[ListRecord], config: object = CONFIG) -> tuple[ListValueModel, ListArrays]:
    """A model before training and its lists."""
    spec = fit_spec(records)
    lists = encode_lists(records, spec, SHOWN)
    model = new_model(spec, config, lists, seed=0)  # type: ignore[arg-type]
    start_from_rates(model, lists, listwise=0.0)
    return model, lists


def scored(record: ListRecord, names: tuple[str, ...]) -> ListRecord:
    """The list with these scores alone."""
    kept = [replace(c, scores={n: v for n, v in c.scores.items() if n in names}) for c in record.candidates]
    return replace(record, candidates=tuple(kept))


@pytest.mark.parametrize(
    ("change", "valued"),
    [
        (lambda r: r, ("click", "conversion", "gmv")),
        (lambda r: replace(r, purchases=None, gmv=None), ("click",)),
        (lambda r: scored(r, ("ctr",)), ("click",)),
        (lambda r: scored(r, ("cvr",)), ("click", "conversion", "gmv")),
        (lambda r: replace(scored(r, ()), purchases=None), ("click",)),
        (lambda r: replace(r, candidates=tuple(replace(c, price=None) for c in r.candidates)), ("click", "conversion")),
    ],
)
def test_what_has_a_prior_and_is_recorded_is_valued_or_all_that_is_recorded_where_there_is_no_prior(
    change: Callable[[ListRecord], ListRecord], valued: tuple[str, ...]
) -> None:
    model, lists = started([change(r) for r in shop_records(40)])
    assert model.valued_objectives == valued
    gains = predict(model, lists, CPU)[:, -1]
    assert [bool(gains[:, o].any()) for o in range(2)] == [name in valued for name in ("click", "conversion")]


def test_hazards_start_as_the_calibrated_prior() -> None:
    model, lists = started(shop_records(3000))
    outcomes = predict(model, lists, CPU)
    for o in range(2):
        per_place = np.diff(outcomes[..., o], axis=1, prepend=0).mean(axis=0)
        np.testing.assert_allclose(per_place, lists.labels[..., o].mean(axis=0), atol=0.02)
    # The scores are true, so they are taken at their word, and a list's order changes nothing.
    assert float(model.hazard_heads[0].skip.detach()) == pytest.approx(1.0, abs=0.1)
    with torch.inference_mode():
        logits = model.eval()(lists.tensors(CPU))
        expected = model.hazard_heads[0].skip * torch.from_numpy(lists.features["priors"][..., 0])
    spread = logits[:, :, 0, 0] - expected - model.hazard_heads[0].place_offset
    assert float(spread.detach().std()) < 1e-5


def test_without_scores_hazards_start_at_base_rates() -> None:
    model, lists = started([scored(r, ()) for r in shop_records(800)])
    outcomes = predict(model, lists, CPU)
    assert float(model.hazard_heads[0].skip.detach()) == 0
    assert outcomes[:, -1, 0].std() < 1e-5
    assert outcomes[:, -1, 0].mean() == pytest.approx(lists.labels[..., 0].sum(axis=1).mean(), rel=0.02)


def test_before_training_the_papers_head_with_silent_inputs_predicts_the_base_rates() -> None:
    records = shop_records(200)
    spec = fit_spec(records)
    lists = encode_lists(records, spec, SHOWN)
    model = new_model(spec, PAPERS, lists, seed=0)
    for head in model.counting_heads:
        torch.nn.init.zeros_(head.out.weight)
    assert start_from_rates(model, lists, listwise=0.0) == ()
    with torch.inference_mode():
        probabilities = torch.sigmoid(model.eval()(lists.tensors(CPU))).numpy()
    labels = torch.from_numpy(lists.labels[:, :, :2])
    mask = ordered_mask(torch.from_numpy(lists.lengths), torch.from_numpy(lists.observed[:, :2]), SHOWN).numpy()
    passed = ordered_targets(labels).numpy()
    for o in range(2):
        for i in range(SHOWN):
            where = mask[:, :, o, i]
            assert probabilities[:, :, o, i][where].mean() == pytest.approx(passed[:, :, o, i][where].mean(), abs=0.01)


def test_each_head_has_its_own_loss() -> None:
    for config, weight in ((CONFIG, 0.5), (CONFIG, 0.0), (PAPERS, 0.5)):
        model, lists = started(shop_records(30), config)
        batch = lists.tensors(CPU)
        outcome = (batch["labels"][..., :2], batch["lengths"], batch["observed"][:, :2])
        logits = model.eval()(batch)
        if config is PAPERS:
            expected = ordered_regression_loss(logits, *outcome)
        else:
            expected = path_loss(logits, *outcome) + weight * listwise_loss(logits, *outcome)
        loss = loss_of(model.spec, config.head, weight)
        assert mean_loss(model, batch, loss, 1000) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_only_a_loss_of_the_head_is_let_through() -> None:
    check_loss("hazard", None)
    check_loss("hazard", "path")
    check_loss("hazard", "ordered")
    check_loss("independent", "ordered")
    with pytest.raises(ValueError, match="--loss: the hazard head is trained by path or ordered, not by entire-space"):
        check_loss("hazard", "entire-space")
    with pytest.raises(ValueError, match="--loss: the independent head is trained by ordered, not by path"):
        check_loss("independent", "path")


def test_it_learns_what_an_item_loses_behind_its_like_and_no_increment_is_negative(tmp_path: Path) -> None:
    effect = 3.0
    train, held_out = shop_records(1500, effect=effect), shop_records(400, seed=9, effect=effect)
    spec = fit_spec(train)
    lists, valid = encode_lists(train, spec, SHOWN), encode_lists(held_out, spec, SHOWN)
    options = TrainOptions(epochs=6, batch_size=64, learning_rate=1e-2)
    seen: list[int] = []

    def note(model: ListValueModel, progress: Progress) -> None:
        del model
        seen.append(progress.epoch)

    fitted = Setup(spec, CONFIG, options, CPU).fit(lists, valid, tmp_path, on_epoch=note)
    assert seen == list(range(7))
    gains = np.diff(predict(fitted.model, valid, CPU)[..., 0], axis=1, prepend=0)[:, 1:]
    category = valid.features["item_ids"][..., 0]
    repeats = category[:, 1:] == category[:, :-1]
    clicks = valid.labels[:, 1:, 0]
    for where in (repeats, ~repeats):
        assert gains[where].mean() == pytest.approx(clicks[where].mean(), abs=0.03)
    report = value_report(fitted.model, valid, CPU)
    assert [report[name]["negative_increments"] for name in ("click", "conversion")] == [0.0, 0.0]
    assert (np.diff(predict(fitted.model, valid, CPU), axis=1, prepend=0) >= 0).all()


@pytest.mark.parametrize("head", ["pointwise", "entire-space"])
def test_a_head_of_places_with_silent_inputs_starts_at_the_base_rates(head: HeadKind) -> None:
    records = shop_records(200)
    lists = encode_lists(records, fit_spec(records), SHOWN)
    model = new_model(fit_spec(records), replace(CONFIG, head=head), lists, seed=0)
    for part in model.counting_heads:
        torch.nn.init.zeros_(part.out.weight)
    assert start_from_rates(model, lists, listwise=0.5) == ()
    with torch.inference_mode():
        gains = model.eval().increments(lists.tensors(CPU)).numpy()
    for o in range(2):
        assert gains[..., o].mean() == pytest.approx(lists.labels[..., o].mean(), abs=0.01)


@pytest.mark.parametrize(
    ("config", "kind", "expected"),
    [
        (CONFIG, "ordered", lambda *x: ordered_hazards_loss(*x) + 0.5 * listwise_loss(*x)),
        (replace(CONFIG, head="pointwise"), None, path_loss),
        (replace(CONFIG, head="entire-space"), None, entire_space_loss),
    ],
)
def test_ablations_have_losses_of_their_own(
    config: ValueConfig, kind: LossKind | None, expected: Callable[..., torch.Tensor]
) -> None:
    model, lists = started(shop_records(30), config)
    batch = lists.tensors(CPU)
    logits = model.eval()(batch)
    value = expected(logits, batch["labels"][..., :2], batch["lengths"], batch["observed"][:, :2])
    loss = loss_of(model.spec, config.head, 0.5, kind)
    assert mean_loss(model, batch, loss, 1000) == pytest.approx(float(value.detach()), rel=1e-5)


def test_without_the_skip_the_prior_never_enters_but_through_the_correction(tmp_path: Path) -> None:
    train, held_out = shop_records(300), shop_records(100, seed=9)
    spec = fit_spec(train)
    lists, valid = encode_lists(train, spec, SHOWN), encode_lists(held_out, spec, SHOWN)
    options = TrainOptions(epochs=2, batch_size=32, learning_rate=1e-2)
    fitted = Setup(spec, CONFIG, options, CPU, skip=False).fit(lists, valid, tmp_path / "without")
    heads = fitted.model.hazard_heads
    assert [float(head.skip.detach()) for head in heads] == [0.0, 0.0]
    assert any(head.out.weight.any() for head in heads)
    for head in heads:
        head.share.zero_()
    silent = predict(fitted.model, valid, CPU)
    assert np.ptp(silent, axis=0)[:, :2].max() < 1e-6
    whole = Setup(spec, CONFIG, options, CPU).fit(lists, valid, tmp_path / "with")
    assert float(whole.model.hazard_heads[0].skip.detach()) > 0.5


def test_a_run_can_go_on_only_under_its_own_loss_and_skip(tmp_path: Path) -> None:
    records = shop_records(60)
    lists = encode_lists(records, fit_spec(records), SHOWN)
    setup = Setup(fit_spec(records), CONFIG, TrainOptions(epochs=1), CPU)
    # What is the default is not named: runs from before there was the choice go on.
    assert setup.changes() == {}
    assert replace(setup, loss="path").identity() == setup.identity()
    setup.fit(lists, lists, tmp_path)
    for changed, message in (
        (replace(setup, loss="ordered"), "loss was None, not ordered"),
        (replace(setup, skip=False), "skip was None, not False"),
    ):
        with pytest.raises(ValueError, match=message):
            changed.fit(lists, lists, tmp_path, resume=True)
