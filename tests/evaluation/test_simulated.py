"""Planners where truth is known: nothing beats the optimum, every row plans as its name says, the command tells it."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import cli
from models.checkpoint import Checkpoint, save_checkpoint
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.simulated import Case, Planner, planners, preparer, run_planners
from models.evaluation.simulator_command import BASELINE, OPTIMUM, mmr_rows, read_cases, summarise, value_table
from models.features import Encoder
from models.fit import fit_spec
from models.lists import read_lists, write_lists
from models.planners.reference import ModelGains, Preferences, plan_queues
from models.value import ValueConfig
from tests.planners.examples import random_model
from tests.train.records import make_records

LENGTH, CANDIDATES = 3, 6
UNITS = {"click": 0.05, "conversion": 0.01, "gmv": 0.5}
WISH = Preferences((5.0, 1.0, 1.0), (0.05, 0.01, 0.5))
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SimulatorConfig(users=40, items=30, candidates=CANDIDATES, kappa=2.0, seed=1)
    source = load(config, seed=2, lists=120, length=4)
    path = tmp_path_factory.mktemp("simulated") / "lists.parquet"
    write_lists(path, source.records, source.metadata)
    return path


@pytest.fixture(scope="module")
def checkpoint(data: Path) -> Checkpoint:
    """An untrained value model: what is held here does not depend on what it learnt."""
    spec = fit_spec(list(read_lists(data, "train")))
    config = ValueConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4)
    return Checkpoint(random_model(spec, config, seed=0), UNITS)


@pytest.fixture(scope="module")
def cases(data: Path) -> list[Case]:
    return read_cases(data, LENGTH, 8)


@pytest.fixture(scope="module")
def rows(checkpoint: Checkpoint) -> dict[str, Planner]:
    return planners(checkpoint, LENGTH, (1, 4), None, CANDIDATES)


@pytest.fixture(scope="module")
def lists(cases: list[Case], rows: dict[str, Planner]) -> dict[str, list[list[int]]]:
    return {name: [[int(i) for i in plan(case, WISH)] for case in cases] for name, plan in rows.items()}


def true_worth(case: Case, chosen: list[int]) -> float:
    return float(WISH.step_value(case.values(np.array([chosen])))[0])


def learnt_worth(checkpoint: Checkpoint, case: Case, chosen: list[int]) -> float:
    """Step by step, as the reference sees it."""
    gains = model_gains(checkpoint, case)
    return sum(float(WISH.step_value(gains(chosen[:i], [slot]))[0]) for i, slot in enumerate(chosen))


def model_gains(checkpoint: Checkpoint, case: Case) -> ModelGains:
    """Slots are candidate indices."""
    encoder = Encoder(checkpoint.spec)
    user = encoder.encode_user(case.record.user, case.record.context)
    return ModelGains(checkpoint.model, user | encoder.encode_items(case.record.candidates))


def test_cases_are_test_requests_with_the_truth_that_they_were_drawn_from(data: Path, cases: list[Case]) -> None:
    records = list(read_lists(data, "test"))[:8]
    assert [c.record for c in cases] == records
    for case in cases:
        assert [f"i{item}" for item in case.truth.items] == [c.id for c in case.record.candidates]
        assert case.truth.price.tolist() == [c.price for c in case.record.candidates]


def test_increments_add_up_to_the_value_of_the_list(cases: list[Case]) -> None:
    for case in cases:
        steps = [case.gains([4, 0, 2][:i], [slot])[0] for i, slot in enumerate([4, 0, 2])]
        np.testing.assert_allclose(np.sum(steps, axis=0), case.values(np.array([[4, 0, 2]]))[0])


def test_the_table_has_a_row_per_planner_and_notion_of_value(rows: dict[str, Planner]) -> None:
    assert list(rows) == [
        "input order",
        BASELINE,
        "SORT-Gen, h=1",
        "SORT-Gen, h=4",
        "learnt value, exhaustive",
        "true value, queues h=1",
        "true value, queues h=4",
        "true value, greedy over all",
        OPTIMUM,
    ]


def test_every_planner_fills_the_list_with_different_candidates(lists: dict[str, list[list[int]]]) -> None:
    for planned in lists.values():
        for chosen in planned:
            assert len(chosen) == len(set(chosen)) == LENGTH
            assert set(chosen) <= set(range(CANDIDATES))


def test_no_planner_beats_the_optimum_on_any_request(cases: list[Case], lists: dict[str, list[list[int]]]) -> None:
    for i, case in enumerate(cases):
        best = true_worth(case, lists[OPTIMUM][i])
        assert best == pytest.approx(max(true_worth(case, list(p)) for p in permutations(range(CANDIDATES), LENGTH)))
        assert all(true_worth(case, planned[i]) <= best + 1e-12 for planned in lists.values())


def test_no_planner_beats_the_exhaustive_search_under_the_learnt_value(
    checkpoint: Checkpoint, cases: list[Case], lists: dict[str, list[list[int]]]
) -> None:
    for i, case in enumerate(cases):
        best = learnt_worth(checkpoint, case, lists["learnt value, exhaustive"][i])
        worths = {name: learnt_worth(checkpoint, case, planned[i]) for name, planned in lists.items()}
        assert max(worths.values()) <= best + 1e-4
    assert lists["learnt value, exhaustive"] != lists[OPTIMUM]


@pytest.mark.parametrize("width", [1, 4])
def test_sort_gen_is_the_reference_over_the_same_queues(
    checkpoint: Checkpoint, cases: list[Case], lists: dict[str, list[list[int]]], width: int
) -> None:
    prepare = preparer(checkpoint, LENGTH, width)
    for case, found in zip(cases, lists[f"SORT-Gen, h={width}"], strict=True):
        _, slots = prepare(case.record, WISH)
        queues = [[i for i in queue if i >= 0] for queue in slots.reshape(-1, LENGTH).tolist()]
        gains, nowhere = model_gains(checkpoint, case), np.zeros((CANDIDATES, 1), np.float32)
        steps = plan_queues(gains, queues, nowhere, WISH, length=LENGTH, head_width=width)
        assert found == [step.slot for step in steps]


def test_the_baselines_are_the_input_order_and_a_sort_by_what_prior_scores_promise(
    cases: list[Case], lists: dict[str, list[list[int]]]
) -> None:
    assert lists["input order"] == [[0, 1, 2]] * len(cases)
    for case, found in zip(cases, lists[BASELINE], strict=True):
        promise = [
            5 * c.scores["ctr"] / 0.05
            + c.scores["ctr"] * c.scores["cvr"] / 0.01
            + c.scores["ctr"] * c.scores["cvr"] * (c.price or 0) / 0.5
            for c in case.record.candidates
        ]
        assert found == sorted(range(CANDIDATES), key=lambda i: -promise[i])[:LENGTH]


def test_greedy_over_all_takes_the_truly_best_next_item(cases: list[Case], lists: dict[str, list[list[int]]]) -> None:
    for case, found in zip(cases, lists["true value, greedy over all"], strict=True):
        for t in range(LENGTH):
            left = [i for i in range(CANDIDATES) if i not in found[:t]]
            assert found[t] == max(left, key=lambda i: true_worth(case, [*found[:t], i]))


def test_exhaustive_rows_are_left_out_where_there_are_too_many_lists(checkpoint: Checkpoint) -> None:
    assert OPTIMUM in planners(checkpoint, 4, (1,), None, 8)  # 1,680 lists
    assert not [name for name in planners(checkpoint, 4, (1,), None, 9) if "exhaustive" in name]  # 3,024


@pytest.fixture(scope="module")
def outcomes(cases: list[Case], rows: dict[str, Planner]) -> tuple[dict[str, Floats], Floats]:
    return run_planners(cases, rows, WISH)


def test_values_are_the_true_ones_and_random_is_their_mean_over_all_lists(
    cases: list[Case], lists: dict[str, list[list[int]]], outcomes: tuple[dict[str, Floats], Floats]
) -> None:
    values, random = outcomes
    for name, planned in lists.items():
        expected = [case.values(np.array([chosen]))[0] for case, chosen in zip(cases, planned, strict=True)]
        np.testing.assert_allclose(values[name], expected)
    worths = [[true_worth(case, list(p)) for p in permutations(range(CANDIDATES), LENGTH)] for case in cases]
    # The mean of 100 lists drawn from all 120 lies within four standard errors of theirs.
    assert (abs(WISH.step_value(random) - np.mean(worths, axis=1)) < 4 * np.std(worths, axis=1) / 10).all()


def test_the_summary_frames_every_row_between_random_and_the_optimum(
    outcomes: tuple[dict[str, Floats], Floats],
) -> None:
    summary = {row["planner"]: row for row in summarise(*outcomes, WISH, seed=0)}
    assert summary["random"]["optimality"] == 0
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
    rows = {r["planner"]: r for r in summarise({BASELINE: base, OPTIMUM: best}, random, wish, seed=0)}
    assert [rows[n]["value"] for n in ("random", BASELINE, OPTIMUM)] == [0.5, 1.0, 2.0]
    assert [rows[n]["gain"] for n in ("random", BASELINE, OPTIMUM)] == [-0.5, 0.0, 1.0]
    assert rows[BASELINE]["optimality"] == pytest.approx(0.5 / 1.5)
    assert [rows[OPTIMUM][o] for o in ("click", "conversion", "gmv")] == pytest.approx([2.5, 0.35, 15.0])
    assert "optimality" not in summarise({BASELINE: base}, random, wish, seed=0)[0]
    table = value_table(list(rows.values())).splitlines()
    assert table[3].startswith(f"| {BASELINE} | 1.000 | +0.0% (+0.0% to +0.0%) | 0.333 | 1.0000 | 0.1500 | 10.000 |")


def test_mmr_changes_nothing_at_1_and_lowers_likeness_at_0(checkpoint: Checkpoint, cases: list[Case]) -> None:
    plain, same, diverse = mmr_rows(checkpoint, cases, WISH, (1.0, 0.0), width=4)
    assert plain == same
    assert (plain["trade_off"], plain["lists_changed"], plain["positions_changed"]) == (1.0, 0.0, 0.0)
    assert diverse["trade_off"] == 0.0
    assert 0 < diverse["positions_changed"] <= diverse["lists_changed"] <= 1
    assert diverse["cosine"] < plain["cosine"]


@pytest.fixture(scope="module")
def saved(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    save_checkpoint(path, checkpoint)
    return path


def evaluate(data: Path, saved: Path, *more: str) -> int:
    """The exit status; a status 2 of argparse included."""
    try:
        return cli.main(["evaluate", "simulator", "--data", str(data), "--checkpoint", str(saved), *more])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_the_command_prints_and_writes_the_tables(
    data: Path, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "new" / "figures.json"
    sizes = ["--length", "3", "--requests", "4", "--head-widths", "1,2"]
    assert evaluate(data, saved, *sizes, "--objectives", "1,2,0", "--trade-offs", "0.5", "--json", str(figures)) == 0
    report = json.loads(figures.read_text())
    assert (report["requests"], report["candidates"], report["length"]) == (4, CANDIDATES, 3)
    assert report["preferences"]["weights"] == [1.0, 2.0, 0.0]
    assert report["preferences"]["units"] == [0.05, 0.01, 0.5]
    names = [row["planner"] for row in report["rows"]]
    assert "formula sort, pointwise model" in names
    assert [row["trade_off"] for row in report["mmr"]] == [1.0, 0.5]
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in names)
    assert "MMR at h=2, window 4" in printed


def test_the_pointwise_model_may_be_left_out(data: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(data, saved, "--length", "2", "--requests", "2", "--head-widths", "1", "--no-pointwise") == 0
    printed = capsys.readouterr().out
    assert "pointwise" not in printed
    assert "MMR" not in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--length", "7"], "--length: 7 is more than the 6 candidates of a request"),
        (["--length", "5"], "list_length 5 is past the model's horizon 4"),
        (["--length", "0"], "--length: must be at least 1, not 0"),
        (["--length", "3", "--requests", "0"], "--requests: must be at least 1, not 0"),
        (["--length", "3", "--objectives", "5,1"], "argument --objectives: must be three numbers"),
        (["--length", "3", "--objectives", "0,0,0"], "argument --objectives: must be three numbers"),
        (
            ["--length", "3", "--objectives", "a,b,c"],
            "argument --objectives: must be three numbers of at least 0, not all 0, not 'a,b,c'",
        ),
        (["--length", "3", "--trade-offs", "0.5,1.5"], "argument --trade-offs: must be numbers within 0..1"),
        (["--length", "3", "--head-widths", "0"], "argument --head-widths: must be whole numbers of at least 1"),
        (["--length", "3", "--head-widths", "1,x"], "argument --head-widths: must be whole numbers of at least 1"),
        (["--length", "3", "--checkpoint", "nowhere.pt"], "nowhere.pt: there is no such file"),
    ],
)
def test_what_is_wrong_is_named(
    data: Path, saved: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert evaluate(data, saved, "--no-pointwise", *options) == 2
    assert message in capsys.readouterr().err


def test_a_list_file_of_another_source_is_refused(
    tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lists.parquet"
    write_lists(path, make_records(3, split="test"), {"source": "mine"})
    assert evaluate(path, saved, "--length", "3") == 2
    assert "was not made by `listwright data simulator`" in capsys.readouterr().err


def test_a_list_file_without_test_lists_is_refused(tmp_path: Path) -> None:
    source = load(SimulatorConfig(users=5, items=9, candidates=6), seed=0, lists=20, length=3)
    path = tmp_path / "lists.parquet"
    write_lists(path, (r for r in source.records if r.split == "train"), source.metadata)
    with pytest.raises(ValueError, match="has no test lists"):
        read_cases(path, LENGTH, 5)
