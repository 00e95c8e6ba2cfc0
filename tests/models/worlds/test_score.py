"""Scoring served lists in a test world: every row is valued by the world's truth, whatever serves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.cli import main as listwright
from models.data.list_file import read_lists
from models.evaluation.planning import ServedPlanner
from models.evaluation.simulated.comparison import BASELINE, RANDOM, Searches, SimulatedCase, over_all_name, served_name
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from models.planners.references.sort_gen import Preferences
from tests.models.planners.examples import random_model
from tests.models.specs import fit_spec
from tests.models.worlds.kinds import SHOPS
from tests.models.worlds.score import WEIGHTS, lines, main, read_cases, score, score_bundle
from tests.models.worlds.shop import SHOWN
from tests.models.worlds.write import write_world

WORLD = "saturation"
UNITS = {"click": 0.1, "conversion": 0.03, "gmv": 0.7}
WISH = Preferences((1.0, 0.0, 0.0), (0.1, 0.03, 0.7))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "log.parquet"
    write_world(WORLD, path, lists=200, seed=0)
    return path


@pytest.fixture(scope="module")
def cases(data: Path) -> list[SimulatedCase]:
    return read_cases(WORLD, data)


@pytest.fixture(scope="module")
def checkpoint(data: Path) -> Checkpoint:
    spec = fit_spec(list(read_lists(data, "train")))
    return Checkpoint(random_model(spec, ValueConfig(dim=16, layers=1, heads=2, field_dim=4), seed=0), UNITS)


def test_cases_are_the_worlds_test_requests(data: Path, cases: list[SimulatedCase]) -> None:
    assert [case.record for case in cases] == list(read_lists(data, "test"))
    shown = np.array([cases[0].record.exposed])
    np.testing.assert_array_equal(cases[0].outcomes(shown), SHOPS[WORLD]().true_value(cases[0].record, shown))
    assert len(read_cases(WORLD, data, 3)) == 3


def test_rows_are_true_values_and_greedy_with_true_values_leads(
    cases: list[SimulatedCase], checkpoint: Checkpoint
) -> None:
    worth = score(cases, checkpoint, (1.0, 0.0, 0.0), Searches((2,), (1,)))
    served = ServedPlanner.of(checkpoint, SHOWN, head_width=2)
    lists = served([case.record for case in cases], WISH)
    clicks = [case.values(chosen[None])[0, 0] / UNITS["click"] for case, chosen in zip(cases, lists, strict=True)]
    np.testing.assert_allclose(worth[served_name(2, 1)], clicks)
    means = {name: values.mean() for name, values in worth.items()}
    assert max(means, key=lambda name: means[name]) == over_all_name("true", 1)
    assert means[RANDOM] < means[BASELINE]
    table = lines(worth)
    assert table[list(worth).index(BASELINE)].split()[-5:] == [f"{means[BASELINE]:.3f}", "+0.00%", "±", "0.00%", "0.00"]
    assert table[list(worth).index(over_all_name("true", 1))].endswith(" 1.00")


@pytest.mark.long
def test_a_bundle_scores_as_the_checkpoint_that_it_was_made_of(
    cases: list[SimulatedCase], checkpoint: Checkpoint, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, bundles = tmp_path / "checkpoint.pt", tmp_path / "bundles"
    save_checkpoint(path, checkpoint)
    export = ["export", "--checkpoint", str(path), "--out", str(bundles), "--requests", "3"]
    assert (
        listwright(
            [*export, "--name", "tiny", "--version", "1", "--head-width", "2", "--beam-width", "1", "--accept-worse"]
        )
        == 0
    )
    for weights in WEIGHTS:
        known = score(cases, checkpoint, weights, Searches((2,), (1,)))
        found = score_bundle(cases, bundles / "tiny" / "1", weights)
        np.testing.assert_allclose(found["bundle tiny 1"], known[served_name(2, 1)])
        for name in (RANDOM, BASELINE, over_all_name("true", 1)):
            np.testing.assert_allclose(found[name], known[name])

    capsys.readouterr()
    main([WORLD, "--data", str(data), "--bundle", str(bundles / "tiny" / "1"), "--requests", "4"])
    assert "saturation at 5, 1, 1: 4 requests" in capsys.readouterr().out
    main([WORLD, "--data", str(data), "--checkpoint", str(path), "--requests", "4", "--head-width", "1", "2"])
    printed = capsys.readouterr().out
    assert "SORT-Gen, h=2" in printed
    assert "saturation at 1, 0, 0: 4 requests" in printed
