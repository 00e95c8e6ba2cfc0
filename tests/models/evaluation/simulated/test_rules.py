"""`listwright evaluate rules`: both ways keep the caps, and what the command prints, writes and refuses."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models import cli
from models.contract.rules.definition import Cap, Rules
from models.evaluation.simulated.comparison import SimulatedCase
from models.evaluation.simulated.ruled_lists import RuledLists, RuledPlanner
from models.nets.checkpoint import Checkpoint, GeneratorCheckpoint, save_checkpoint, save_generator
from models.nets.generator import GeneratorConfig
from tests.models.evaluation.simulated.world import LENGTH, UNITS, WISH
from tests.models.planners.examples import random_generator
from tests.models.tables import compact

CAP = Rules(caps=(Cap("category", 1),))


@pytest.fixture(scope="module")
def generator(checkpoint: Checkpoint) -> GeneratorCheckpoint:
    config = GeneratorConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4)
    objectives = {"click": 5.0, "conversion": 1.0, "gmv": 1.0}
    pointer = random_generator(checkpoint.spec, config, seed=0)
    return GeneratorCheckpoint(pointer, checkpoint.model, UNITS, objectives)


@pytest.fixture(scope="module", params=["sort-gen", "degre"])
def planner(request: pytest.FixtureRequest, checkpoint: Checkpoint, generator: GeneratorCheckpoint) -> RuledPlanner:
    chosen = checkpoint if request.param == "sort-gen" else generator
    return RuledPlanner.of(chosen, LENGTH, head_width=2, beam_width=2)


def most_of_a_category(cases: list[SimulatedCase], found: RuledLists) -> list[int]:
    """Per list, how many items its most frequent category has."""
    rows = zip(cases, found.lists.tolist(), strict=True)
    return [max(Counter(case.record.candidates[i].features["category"] for i in row).values()) for case, row in rows]


def test_both_ways_keep_the_cap_where_it_can_be_kept(planner: RuledPlanner, cases: list[SimulatedCase]) -> None:
    records = [case.record for case in cases]
    free = planner.inside(records, Rules(), WISH)
    assert max(most_of_a_category(cases, free)) > 1, "the cap must have something to do"
    enough = [len({c.features["category"] for c in record.candidates}) >= LENGTH for record in records]
    assert any(enough)
    for found in (planner.inside(records, CAP, WISH), planner.repaired(records, CAP, WISH)):
        assert all(len(set(row)) == LENGTH for row in found.lists.tolist())
        most = most_of_a_category(cases, found)
        assert [count for count, can in zip(most, enough, strict=True) if can] == [1] * sum(enough)


def test_without_a_cap_that_binds_both_ways_give_the_plain_list(
    planner: RuledPlanner, cases: list[SimulatedCase]
) -> None:
    records, loose = [case.record for case in cases], Rules(caps=(Cap("category", LENGTH),))
    plain = planner.repaired(records, Rules(), WISH).lists
    for found in (planner.inside(records, loose, WISH), planner.repaired(records, loose, WISH)):
        np.testing.assert_array_equal(found.lists, plain)
        assert found.ended_early == 0


def evaluate(data: Path, saved: Path, *more: str) -> int:
    """The exit status; a status 2 of argparse included."""
    try:
        return cli.main(["evaluate", "rules", "--data", str(data), "--checkpoint", str(saved), *more])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_the_command_prints_and_writes_a_row_for_each_cap(
    data: Path,
    checkpoint: Checkpoint,
    generator: GeneratorCheckpoint,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_checkpoint(tmp_path / "value.pt", checkpoint)
    save_generator(tmp_path / "generator.pt", generator)
    for name in ("value.pt", "generator.pt"):
        figures = tmp_path / f"{name}.json"
        more = ["--length", str(LENGTH), "--requests", "4", "--caps", "2,1/2", "--json", str(figures)]
        assert evaluate(data, tmp_path / name, *more) == 0
        report = json.loads(figures.read_text())
        assert [(row["cap"]["limit"], row["cap"]["window"]) for row in report["rows"]] == [(2, None), (1, 2)]
        for row in report["rows"]:
            assert row["inside"] == pytest.approx(row["repaired"] * (1 + row["gain"]))
        printed = compact(capsys.readouterr().out)
        assert printed.startswith("requests: 4")
        assert "| 2 of a category |" in printed
        assert "| 1 of a category in 2 |" in printed


@pytest.mark.parametrize("caps", ["0", "1/0", "two", "1/", "/2", ""])
def test_caps_that_are_none_are_refused(
    data: Path, tmp_path: Path, caps: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(data, tmp_path / "none.pt", "--length", "3", "--caps", caps) == 2
    assert "must be limits" in capsys.readouterr().err
