"""Cross-fitting: every list is held out once, the epoch is the pooled folds' best, and finished folds are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.batches import ListArrays, encode_lists
from models.nets.checkpoint import CheckpointError
from models.training.crossfit import Crossfit, crossfit
from models.training.loop import TrainOptions, mean_loss
from models.training.value_fit import Fitted, Setup, loss_of
from tests.models.specs import fit_spec
from tests.models.training.records import make_records
from tests.models.training.shops import CONFIG

CPU = torch.device("cpu")
OPTIONS = TrainOptions(epochs=3, batch_size=8, learning_rate=1e-2)
RECORDS = make_records(31)
SETUP = Setup(fit_spec(RECORDS), replace(CONFIG, context="full", dropout=0.1), OPTIONS, CPU, 0.5)
LISTS = encode_lists(RECORDS, SETUP.spec, 4)


def keys(lists: ListArrays) -> list[bytes]:
    """What tells each list from every other."""
    return [row.tobytes() for row in lists.features["priors"]]


def weights_of(found: Crossfit) -> list[torch.Tensor]:
    return [weights for part in found.held_out for weights in part.model.state_dict().values()]


@pytest.mark.long
def test_every_list_is_held_out_once_from_a_model_that_has_not_seen_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ListArrays] = []

    def spy(setup: Setup, train: ListArrays, *args: Any, **options: Any) -> Fitted:
        seen.append(train)
        return fit(setup, train, *args, **options)

    fit = Setup.fit
    monkeypatch.setattr(Setup, "fit", spy)
    found = crossfit(LISTS, 4, SETUP, tmp_path)
    held_out = [keys(part.lists) for part in found.held_out]
    assert sorted(key for own in held_out for key in own) == sorted(keys(LISTS))
    assert sorted(map(len, held_out)) == [7, 8, 8, 8]
    for trained_on, own in zip(seen, held_out, strict=True):
        assert not set(keys(trained_on)) & set(own)
        assert len(trained_on) + len(own) == len(LISTS)


@pytest.mark.long
def test_the_epoch_is_that_of_the_least_loss_over_all_held_out_lists(tmp_path: Path) -> None:
    found = crossfit(LISTS, 3, SETUP, tmp_path)
    assert found.epoch in range(OPTIONS.epochs + 1)
    loss = loss_of(SETUP.spec, "hazard", 0.5)
    pooled = []
    for epoch in range(OPTIONS.epochs + 1):
        total = 0.0
        for k, part in enumerate(found.held_out):
            weights = torch.load(tmp_path / f"fold-{k}" / "epochs.pt", weights_only=True)["epochs"][epoch]
            part.model.load_state_dict(weights)
            total += mean_loss(part.model, part.lists.tensors(CPU), loss, 100) * len(part.lists)
        pooled.append(total / len(LISTS))
    assert found.epoch == int(np.argmin(pooled))
    assert found.loss == pytest.approx(min(pooled), rel=1e-4)


def test_training_that_only_harms_is_left_at_its_start(tmp_path: Path) -> None:
    harmful = replace(SETUP, options=replace(OPTIONS, learning_rate=1.0, warmup=0.0))
    found = crossfit(LISTS, 3, harmful, tmp_path)
    assert found.epoch == 0
    for part in found.held_out:
        for head, start in zip(part.model.hazard_heads, part.start, strict=True):
            assert torch.equal(head.place_offset, start.place)
            assert not head.out.weight.any()


@pytest.mark.long
def test_an_interrupted_run_keeps_its_folds_and_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = crossfit(LISTS, 3, SETUP, tmp_path / "whole")
    fitted: list[Path] = []

    def fit_until_the_second_fold(setup: Setup, *args: Any, **options: Any) -> Fitted:
        folder = args[-1]
        assert isinstance(folder, Path)
        fitted.append(folder)
        if len(fitted) == 2:
            options = {**options, "on_epoch": interrupt}
        return fit(setup, *args, **options)

    def interrupt(model: object, progress: object) -> None:
        del model
        if getattr(progress, "epoch", 0) == 2:
            raise KeyboardInterrupt

    fit = Setup.fit
    monkeypatch.setattr(Setup, "fit", fit_until_the_second_fold)
    with pytest.raises(KeyboardInterrupt):
        crossfit(LISTS, 3, SETUP, tmp_path / "parts")
    resumed = crossfit(LISTS, 3, SETUP, tmp_path / "parts")
    assert [folder.name for folder in fitted] == ["fold-0", "fold-1", "fold-1", "fold-2"]
    assert (resumed.epoch, resumed.loss) == (whole.epoch, whole.loss)
    for mine, other in zip(weights_of(resumed), weights_of(whole), strict=True):
        assert torch.equal(mine, other)
    for part, same in zip(resumed.held_out, whole.held_out, strict=True):
        for start, offsets in zip(part.start, same.start, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(start, offsets, strict=True))


def test_a_folder_of_another_training_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    crossfit(LISTS, 2, SETUP, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be resumed: epochs was 3, not 4"):
        crossfit(LISTS, 2, replace(SETUP, options=replace(OPTIONS, epochs=4)), tmp_path)
    with pytest.raises(CheckpointError, match="listwise was"):
        crossfit(LISTS, 2, replace(SETUP, listwise=0.1), tmp_path)
    with pytest.raises(CheckpointError, match="lists or folds"):
        crossfit(LISTS, 3, SETUP, tmp_path)


@pytest.mark.parametrize("folds", [1, 32])
def test_folds_that_cannot_be_are_refused(tmp_path: Path, folds: int) -> None:
    with pytest.raises(ValueError, match=rf"folds: must be within 2 and the number of lists \(31\), not {folds}"):
        crossfit(LISTS, folds, SETUP, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_papers_head_is_crossfitted_too(tmp_path: Path) -> None:
    papers = replace(SETUP, config=replace(CONFIG, head="independent"))
    found = crossfit(LISTS, 2, papers, tmp_path)
    assert [part.start for part in found.held_out] == [(), ()]
    assert np.isfinite(found.loss)
