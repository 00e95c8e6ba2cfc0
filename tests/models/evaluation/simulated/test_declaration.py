"""The declared world's table: who is in it, that its medium is medium, and that without context a sort is best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.data.list_writer import write_lists
from models.datasets.declared_world import LENGTH, MEDIUM, WEIGHTS, declared_world
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.simulated.comparison import true_values
from models.evaluation.simulated.declaration import BASE, DeclaredCases, main
from models.planners.objective import objective_formula
from models.planners.prepare import formula_scores
from tests.models.specs import fit_spec

POINTWISE = "the same, true scores without context"
GREEDY, BEAM = "true value, greedy", "true value, beam 8"
SMALL = {"users": 60, "items": 90}


@pytest.mark.long
def test_the_medium_strength_is_medium() -> None:
    drawn = DeclaredCases.draw(declared_world(kappa=MEDIUM), seed=1, requests=300)
    values = {name: drawn.preferences.step_value(rows).mean() for name, rows in drawn.rows().items()}
    assert 0.25 < values[BEAM] / values[BASE] - 1 < 0.35
    assert values["logging policy"] < values[BASE] < values[POINTWISE] < values[GREEDY] < values[BEAM]
    # The mean outcomes of the logged lists are the units: their value is the number of places.
    assert values["logging policy"] == pytest.approx(LENGTH)


def test_without_context_the_true_sort_is_what_greedy_and_beam_find() -> None:
    rows = DeclaredCases.draw(declared_world(kappa=0.0, **SMALL), seed=0, requests=8).rows()
    np.testing.assert_allclose(rows[GREEDY], rows[POINTWISE])
    np.testing.assert_allclose(rows[BEAM], rows[POINTWISE])


def test_the_base_is_the_objective_formula_over_the_prior_scores() -> None:
    drawn = DeclaredCases.draw(declared_world(**SMALL), seed=0, requests=5)
    records = [case.record for case in drawn.cases]
    units = dict(zip(("click", "conversion", "gmv"), drawn.preferences.units, strict=True))
    spec = fit_spec(records)
    formula = objective_formula(spec, units)
    scores = [formula_scores(record, [formula], WEIGHTS, spec)[0] for record in records]
    lists = np.array([np.argsort(-score, kind="stable")[:LENGTH] for score in scores])
    np.testing.assert_array_equal(true_values(drawn.cases, lists), drawn.rows()[BASE])


def test_the_command_prints_a_row_of_each_and_takes_other_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    small = [word for name, value in SMALL.items() for word in ("--knob", f"{name}={value}")]
    main(["--requests", "3", "--kappa", "0", "0.5", *small, "--knob", "candidates=10", "--knob", "prior_noise=0.2"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 2 + 2 * 5
    assert [row[0] for row in rows[2:]] == ["| 0"] * 5 + ["| 0.5"] * 5
    assert rows[3][1] == BASE
    assert rows[3][3] == "+0.0% (+0.0% to +0.0%)"


def test_the_command_takes_items_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = tmp_path / "shop.parquet"
    write_lists(shop, load(SimulatorConfig(users=9, items=60, candidates=40), seed=0, lists=9, length=3).records, {})
    sizes = ["--requests", "2", "--kappa", "0.5", "--knob", "items=50", "--knob", "candidates=12"]
    main([*sizes, "--items-from", str(shop), "--category-feature", "style"])
    assert len(capsys.readouterr().out.splitlines()) == 2 + 5
    with pytest.raises(SystemExit):
        main([*sizes, "--items-from", str(shop)])


@pytest.mark.parametrize(
    ("knob", "problem"),
    [("colour=1", "'colour' is no number"), ("kappa=much", "kappa must be a number"), ("given=1", "'given' is no")],
)
def test_a_number_that_no_world_has_is_named(knob: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--knob", knob])
    assert problem in capsys.readouterr().err
