"""What planners earn where truth is known: pooled, framed, compared with the same search, and laid out."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from models.evaluation.simulated.comparison import (
    BASELINE,
    OPTIMUM,
    RANDOM,
    PlannerComparison,
    SimulatedCase,
    random_values,
)
from models.evaluation.simulated.report import (
    gain_ratios,
    learning_curve_table,
    mmr_rows,
    ratio_table,
    summarise,
    value_table,
)
from models.nets.checkpoint import Checkpoint
from models.planners.references.sort_gen import Preferences
from tests.models.evaluation.simulated.world import CANDIDATES, LENGTH, SEARCHES, WISH, Floats, shut, true_worth
from tests.models.tables import compact


@pytest.fixture(scope="module")
def comparison(cases: list[SimulatedCase], checkpoint: Checkpoint) -> PlannerComparison:
    return PlannerComparison.of(cases, checkpoint, (5.0, 1.0, 1.0), SEARCHES)


@pytest.fixture(scope="module")
def values(comparison: PlannerComparison, checkpoint: Checkpoint) -> dict[str, Floats]:
    return comparison.values([checkpoint, shut(checkpoint, 0.0, 0.0)])


def test_values_are_the_true_ones_and_random_is_their_mean_over_all_lists(
    cases: list[SimulatedCase], lists: dict[str, list[list[int]]], values: dict[str, Floats]
) -> None:
    assert set(values) == {RANDOM, *lists}
    for name, planned in lists.items():
        expected = [case.values(np.array([chosen]))[0] for case, chosen in zip(cases, planned, strict=True)]
        np.testing.assert_allclose(values[name][0], expected)
    worths = [[true_worth(case, list(p)) for p in permutations(range(CANDIDATES), LENGTH)] for case in cases]
    # The mean of 100 lists drawn from all 120 lies within four standard errors of theirs.
    random = WISH.step_value(random_values(cases))
    assert (abs(random - np.mean(worths, axis=1)) < 4 * np.std(worths, axis=1) / 10).all()


def test_checkpoints_are_pooled_by_their_mean(values: dict[str, Floats]) -> None:
    rows = {row["planner"]: row for row in summarise(values, WISH, seed=0)}
    served = rows["SORT-Gen, h=4, W=3"]
    assert values["SORT-Gen, h=4, W=3"].shape[0] == 2
    assert values[BASELINE].shape[0] == 1
    assert served["gains"][1] == pytest.approx(0)  # the second keeps no correction, so the sort is served
    assert served["gain"] == pytest.approx(served["gains"][0] / 2)


def test_the_summary_frames_every_row_between_random_and_the_optimum(values: dict[str, Floats]) -> None:
    summary = {row["planner"]: row for row in summarise(values, WISH, seed=0)}
    assert summary[RANDOM]["optimality"] == 0
    assert summary[OPTIMUM]["optimality"] == 1
    assert all(row["optimality"] <= 1 for row in summary.values())
    assert (summary[BASELINE]["gain"], summary[BASELINE]["gain_low"], summary[BASELINE]["gain_high"]) == (0, 0, 0)
    for row in summary.values():
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]


def test_the_summary_by_hand() -> None:
    wish = Preferences((1.0, 0.0, 1.0), (1.0, 1.0, 10.0))
    random = np.array([[0.5, 0.0, 5.0], [1.0, 0.0, 0.0]])  # worth 0.5 and 0.5
    base = np.array([[1.0, 0.1, 0.0], [1.0, 0.2, 20.0]])  # worth 0.5 and 1.5
    best = np.array([[2.0, 0.3, 10.0], [3.0, 0.4, 20.0]])  # worth 1.5 and 2.5
    values = {RANDOM: random[None], BASELINE: base[None], OPTIMUM: best[None]}
    rows = {r["planner"]: r for r in summarise(values, wish, seed=0)}
    assert [rows[n]["value"] for n in ("random", BASELINE, OPTIMUM)] == [0.5, 1.0, 2.0]
    assert [rows[n]["gain"] for n in ("random", BASELINE, OPTIMUM)] == [-0.5, 0.0, 1.0]
    assert rows[BASELINE]["optimality"] == pytest.approx(0.5 / 1.5)
    assert [rows[OPTIMUM][o] for o in ("click", "conversion", "gmv")] == pytest.approx([2.5, 0.35, 15.0])
    assert "optimality" not in summarise({RANDOM: random[None], BASELINE: base[None]}, wish, seed=0)[0]
    table = compact(value_table(list(rows.values()))).splitlines()
    assert table[3].startswith(f"| {BASELINE} | 1.000 | +0.0% (+0.0% to +0.0%) | 0.333 | 1.0000 | 0.1500 | 10.000 |")


def test_the_share_of_the_true_gain_by_hand() -> None:
    wish = Preferences((1.0, 0.0, 0.0))
    columns = {BASELINE: [1.0, 1.0], "learnt": [1.5, 1.0], "true": [2.0, 2.0], "worse": [0.5, 1.0]}
    values = {name: np.array([[[click, 0.0, 0.0] for click in clicks]]) for name, clicks in columns.items()}
    (row,) = gain_ratios(values, [("learnt", "true"), ("learnt", "worse")], wish, seed=0)
    assert (row["planner"], row["against"], row["mean"]) == ("learnt", "true", 0.25)
    assert (row["low"], row["high"]) == (0.0, 0.5)
    assert compact(ratio_table([row])).splitlines()[-1] == "| learnt | 25% (0% to 50%) |"


def test_a_learning_curve_has_a_line_per_number_of_training_lists() -> None:
    def rows(gain: float) -> list[dict[str, object]]:
        return [{"planner": "served", "gain": gain, "gain_low": gain - 0.01, "gain_high": gain + 0.01}]

    table = compact(learning_curve_table({10_000: rows(0.05), 2_000: rows(-0.002)}, ["served"])).splitlines()
    assert table[0] == "| training lists | served |"
    assert table[2:] == ["| 2,000 | -0.2% (-1.2% to +0.8%) |", "| 10,000 | +5.0% (+4.0% to +6.0%) |"]


def test_mmr_changes_nothing_at_1_and_lowers_likeness_at_0(checkpoint: Checkpoint, cases: list[SimulatedCase]) -> None:
    plain, same, diverse = mmr_rows(checkpoint, cases, WISH, (1.0, 0.0), width=4)
    assert plain == same
    assert (plain["trade_off"], plain["lists_changed"], plain["positions_changed"]) == (1.0, 0.0, 0.0)
    assert diverse["trade_off"] == 0.0
    assert 0 < diverse["positions_changed"] <= diverse["lists_changed"] <= 1
    assert diverse["cosine"] < plain["cosine"]
