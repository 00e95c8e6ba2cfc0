"""The training loop: it learns, stops early or when told, and an interrupted run ends as an uninterrupted one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.contract.spec import FeatureSpec
from models.data.batches import ListArrays, encode_lists
from models.locks import LockedError, only_one
from models.nets.checkpoint import CheckpointError
from models.nets.value import ListValueModel, ValueConfig
from models.training.loop import LOG_FILE, STATE_FILE, TRAINING_LOCK, Progress, TrainOptions, fit, learning_rate
from models.training.value_fit import Setup, loss_of
from tests.models.specs import fit_spec
from tests.models.training.records import make_records

CONFIG = ValueConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4, dropout=0.2)
CPU = torch.device("cpu")


class Interrupted(Exception):
    """What a test raises between two epochs, as an operator's Ctrl-C would."""


def data() -> tuple[FeatureSpec, ListArrays, ListArrays]:
    train, valid = make_records(60, seed=1), make_records(20, seed=2)
    spec = fit_spec(train)
    return spec, encode_lists(train, spec, 4), encode_lists(valid, spec, 4)


def train(
    folder: Path,
    options: TrainOptions,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    until: int | None = None,
) -> Progress:
    """Choose by validation lists, or train `until` an epoch without any."""
    spec, seen, held_out = data()
    torch.manual_seed(options.seed)
    model = ListValueModel(spec, CONFIG)

    def interrupt(progress: Progress) -> None:
        if progress.epoch == stop_after:
            raise Interrupted

    return fit(
        model,
        seen,
        held_out if until is None else None,
        loss_of(spec, CONFIG.head, 0.5),
        options=options,
        folder=folder,
        device=CPU,
        identity={"lists": seen.digest},
        resume=resume,
        until=until,
        on_epoch=interrupt,
    )


def losses(progress: Progress) -> list[tuple[float | None, float | None]]:
    return [(row["train_loss"], row["valid_loss"]) for row in progress.history]


@pytest.mark.parametrize("until", [None, 4])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, stop_after: int, until: int | None
) -> None:
    options = TrainOptions(epochs=5, batch_size=16, seed=3)
    whole = train(tmp_path / "whole", options, until=until)
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", options, stop_after=stop_after, until=until)
    torch.manual_seed(999)
    resumed = train(tmp_path / "parts", options, resume=True, until=until)
    assert resumed.epoch == whole.epoch == (until or 5)
    assert losses(resumed) == losses(whole)
    assert resumed.best_epoch == whole.best_epoch
    for name, weights in whole.best_weights.items():
        assert torch.equal(weights, resumed.best_weights[name]), name


def test_a_folder_that_is_being_trained_in_is_left_alone(tmp_path: Path) -> None:
    with only_one(tmp_path, TRAINING_LOCK), pytest.raises(LockedError, match="another process"):
        train(tmp_path, TrainOptions(epochs=1, batch_size=16))
    assert not (tmp_path / STATE_FILE).exists()


def test_the_loss_falls_and_the_log_has_a_line_per_epoch(tmp_path: Path) -> None:
    progress = train(tmp_path, TrainOptions(epochs=6, batch_size=16, learning_rate=3e-3))
    rows = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text("utf-8").splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["train_loss"] < 0.95 * rows[0]["train_loss"]
    assert progress.best_loss <= min(row["valid_loss"] for row in rows)


def test_the_seed_decides_the_run(tmp_path: Path) -> None:
    one, again, other = (
        train(tmp_path / name, TrainOptions(epochs=1, batch_size=16, seed=seed))
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    assert losses(one) == losses(again) != losses(other)


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best_weights(tmp_path: Path) -> None:
    spec, seen, held_out = data()
    options = TrainOptions(epochs=200, batch_size=16, learning_rate=1e-2, patience=2)
    fitted = Setup(spec, CONFIG, options, CPU).fit(seen, held_out, tmp_path)
    progress = fitted.progress
    assert progress.epoch == progress.best_epoch + 2 < 200
    for name, weights in fitted.model.state_dict().items():
        assert torch.equal(weights, progress.best_weights[name])


def test_training_that_only_harms_ends_where_it_began(tmp_path: Path) -> None:
    spec, seen, held_out = data()
    options = TrainOptions(epochs=9, batch_size=16, learning_rate=1.0, warmup=0.0, patience=2)
    fitted = Setup(spec, CONFIG, options, CPU).fit(seen, held_out, tmp_path)
    assert (fitted.progress.best_epoch, fitted.progress.epoch) == (0, 2)
    assert fitted.progress.best_loss < min(row["valid_loss"] or 0 for row in fitted.progress.history)
    for head, start in zip(fitted.model.hazard_heads, fitted.start, strict=True):
        assert torch.equal(head.place_offset, start.place)
        assert not head.out.weight.any()
    # The start is also what a run that is resumed comes back to.
    again = Setup(spec, CONFIG, options, CPU).fit(seen, held_out, tmp_path, resume=True)
    assert again.progress.best_epoch == 0
    assert not again.model.hazard_heads[0].out.weight.any()


def test_without_validation_lists_training_goes_as_far_as_told_and_keeps_the_last_weights(tmp_path: Path) -> None:
    options = TrainOptions(epochs=5, batch_size=16, patience=1, learning_rate=1.0)  # so bad that patience would end it
    progress = train(tmp_path / "three", options, until=3)
    assert (progress.epoch, progress.best_epoch) == (3, 3)
    assert [row["valid_loss"] for row in progress.history] == [None, None, None]
    # The schedule is that of all epochs, so its first part is the same however far one goes.
    whole = train(tmp_path / "all", options, until=5)
    assert [row["train_loss"] for row in whole.history[:3]] == [row["train_loss"] for row in progress.history]
    assert train(tmp_path / "none", options, until=0).best_epoch == 0


def test_something_must_say_when_to_stop(tmp_path: Path) -> None:
    spec, seen, held_out = data()
    for valid, until in ((None, None), (held_out, 1)):
        with pytest.raises(ValueError, match="either validation lists or a number of epochs"):
            Setup(spec, CONFIG, TrainOptions(epochs=1), CPU).fit(seen, valid, tmp_path, until=until)


def test_training_leaves_the_callers_randomness_alone(tmp_path: Path) -> None:
    spec, seen, held_out = data()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    options = TrainOptions(epochs=1)
    Setup(spec, CONFIG, options, CPU).fit(seen, held_out, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    train(tmp_path, TrainOptions(epochs=1))
    before = (tmp_path / STATE_FILE).read_bytes()
    with pytest.raises(ValueError, match="already holds a run"):
        train(tmp_path, TrainOptions(epochs=1))
    assert (tmp_path / STATE_FILE).read_bytes() == before


def test_resuming_names_what_differs(tmp_path: Path) -> None:
    train(tmp_path, TrainOptions(epochs=1, learning_rate=1e-3))
    with pytest.raises(CheckpointError, match=r"cannot be resumed: learning_rate was 0\.001, not 0\.01"):
        train(tmp_path, TrainOptions(epochs=1, learning_rate=1e-2), resume=True)


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        train(tmp_path, TrainOptions(epochs=1), resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_writes_nothing(tmp_path: Path) -> None:
    spec, seen, held_out = data()
    seen.features["item_scores"][0, 0, 0] = float("nan")
    options = TrainOptions(epochs=1)
    with pytest.raises(ValueError, match="no longer finite in epoch 1"):
        Setup(spec, CONFIG, options, CPU).fit(seen, held_out, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_learning_rate_rises_to_its_peak_and_falls_towards_zero() -> None:
    options = TrainOptions(learning_rate=0.1, warmup=0.2)
    rates = [learning_rate(step, 50, options) for step in range(50)]
    assert rates[9] == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[10] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("patience", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("clip_norm", -1.0),
        ("weight_decay", -0.1),
        ("warmup", 1.5),
        ("seed", -1),
    ],
)
def test_an_impossible_option_is_named(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        TrainOptions(**{option: value})  # type: ignore[arg-type]
