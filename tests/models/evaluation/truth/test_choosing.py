"""Settings are chosen by the judge on validation requests, and by nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.contract.arrays import Ints
from models.data.records import ListRecord
from models.evaluation.simulated.comparison import SimulatedCase
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.choosing import Choice, choose, expected_values
from models.evaluation.truth.method import Method, PlanContext, Setting
from models.nets.checkpoint import Checkpoint, load_checkpoint
from models.training.value import CHECKPOINT_FILE
from tests.models.evaluation.simulated.world import model_gains
from tests.models.evaluation.truth.small_world import LENGTH, make_bench, make_judge, plan_context

SETTINGS = (0.0, 1.0, 2.0, 3.0)


def rotated(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
    """Lists that begin with the candidate that the setting names."""
    del context
    assert isinstance(setting, float)
    return np.tile((np.arange(LENGTH) + int(setting)) % len(records[0].candidates), (len(records), 1))


METHOD = Method("rotated", "Rotated", "rivals", rotated, settings=SETTINGS)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("world"), lists=300)


@pytest.fixture(scope="module")
def judge(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_judge(bench, tmp_path_factory.mktemp("judge"))


@pytest.mark.long
def test_the_setting_of_the_best_expected_lists_is_chosen(bench: Bench, judge: Path) -> None:
    context, checkpoint = plan_context(bench), load_checkpoint(judge / CHECKPOINT_FILE)
    choice = choose(METHOD, context, judge)
    expected = []
    for setting in SETTINGS:
        lists = rotated(context, bench.valid, setting).tolist()
        worth = [reference(checkpoint, context, *pair) for pair in zip(bench.valid, lists, strict=True)]
        expected.append(np.mean(worth))
    np.testing.assert_allclose([choice.values[str(setting)] for setting in SETTINGS], expected, rtol=1e-4)
    assert choice.setting == SETTINGS[int(np.argmax(expected))]


def reference(checkpoint: Checkpoint, context: PlanContext, record: ListRecord, chosen: list[int]) -> float:
    """The list's value as the plain reference adds it up, step by step."""
    gains = model_gains(checkpoint, SimulatedCase(record, LENGTH, lambda lists: np.zeros((*lists.shape, 3))))
    return sum(float(context.preferences.step_value(gains(chosen[:i], [slot]))[0]) for i, slot in enumerate(chosen))


def test_of_equal_settings_the_first_is_chosen(bench: Bench, judge: Path) -> None:
    same = dataclasses.replace(METHOD, plan=lambda context, records, _: rotated(context, records, 0.0))
    choice = choose(same, plan_context(bench), judge)
    assert choice.setting == SETTINGS[0]
    assert len(set(choice.values.values())) == 1


def test_one_setting_is_no_choice_and_nothing_is_planned(bench: Bench, tmp_path: Path) -> None:
    def refuse(*_: object) -> Ints:
        raise AssertionError("nothing is to be planned")

    method = dataclasses.replace(METHOD, plan=refuse, settings=(None,))
    assert choose(method, plan_context(bench), tmp_path / "nowhere") == Choice(None, {})


def test_lists_that_end_early_are_valued_to_their_end(bench: Bench, judge: Path) -> None:
    lists = rotated(plan_context(bench), bench.valid, 0.0)
    short = np.where(np.arange(LENGTH) < 2, lists, -1)
    values = expected_values(plan_context(bench), np.stack([lists, short], axis=1), judge)
    assert (values[:, 1] < values[:, 0]).all()
    assert (values > 0).all()


def test_a_bench_without_validation_requests_is_named(bench: Bench, judge: Path) -> None:
    with pytest.raises(ValueError, match="rotated: there are no validation requests"):
        choose(METHOD, plan_context(dataclasses.replace(bench, valid_requests=0)), judge)
