"""`listwright evaluate simulator`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models import cli
from models.data.list_writer import write_lists
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.simulated.command import read_cases
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from tests.models.evaluation.simulated.world import CANDIDATES, LENGTH, UNITS
from tests.models.planners.examples import random_model
from tests.models.tables import compact
from tests.models.training.records import make_records


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
    sizes = ["--length", "3", "--requests", "4", "--head-widths", "1,2", "--beam-widths", "1,2"]
    assert evaluate(data, saved, *sizes, "--objectives", "1,2,0", "--trade-offs", "0.5", "--json", str(figures)) == 0
    report = json.loads(figures.read_text())
    assert (report["requests"], report["candidates"], report["length"]) == (4, CANDIDATES, 3)
    assert report["preferences"]["weights"] == [1.0, 2.0, 0.0]
    assert report["preferences"]["units"] == [0.05, 0.01, 0.5]
    names = [row["planner"] for row in report["rows"]]
    assert "formula sort, pointwise model" in names
    assert "SORT-Gen, h=2, W=2" in names
    assert [row["trade_off"] for row in report["mmr"]] == [1.0, 0.5]
    printed = compact(capsys.readouterr().out)
    assert printed.startswith("hazards of 3 states, list context: full; checkpoints: 1; requests: 4")
    assert all(f"| {name} |" in printed for name in names)
    assert all(f"| {row['planner']} | {row['mean']:.0%}" in printed for row in report["ratios"])
    assert "MMR at h=2, window 4" in printed


def test_checkpoints_of_several_sizes_make_a_learning_curve(
    data: Path, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, lists in (("a", 100), ("b", 100), ("c", 50)):
        some = Checkpoint(checkpoint.model, UNITS, {"lists": {"train": lists}})
        save_checkpoint(tmp_path / f"{name}.pt", some)
    more = [str(tmp_path / f"{name}.pt") for name in "bc"]
    options = ["--length", "3", "--requests", "3", "--head-widths", "1", "--beam-widths", "1", "--no-pointwise"]
    figures = tmp_path / "figures.json"
    status = evaluate(data, tmp_path / "a.pt", *more, "--learning-curve", *options, "--json", str(figures))
    assert status == 0
    curve = json.loads(figures.read_text())["learning_curve"]
    assert [point["lists"] for point in curve] == [50, 100]
    served = [row for row in curve[1]["rows"] if row["planner"] == "SORT-Gen, h=1"]
    assert len(served[0]["gains"]) == 2
    assert "| training lists | SORT-Gen, h=1 |" in compact(capsys.readouterr().out)


def test_checkpoints_of_unlike_configuration_are_not_pooled(
    data: Path, saved: Path, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = random_model(checkpoint.spec, ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4), seed=0)
    save_checkpoint(tmp_path / "other.pt", Checkpoint(other, UNITS))
    assert evaluate(data, saved, str(tmp_path / "other.pt"), "--length", "3") == 2
    assert "other.pt has another configuration" in capsys.readouterr().err
    assert evaluate(data, saved, "--length", "3", "--learning-curve", "--no-pointwise", "--requests", "1") == 2
    assert "does not say how many lists it was trained on" in capsys.readouterr().err


def test_the_pointwise_model_may_be_left_out(data: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(data, saved, "--length", "2", "--requests", "2", "--head-widths", "1", "--no-pointwise") == 0
    printed = compact(capsys.readouterr().out)
    assert "pointwise" not in printed
    assert "MMR" not in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--length", "7"], "--length: 7 is more than the 6 candidates of a request"),
        (["--length", "5"], "list_length 5 is past the model's horizon 4"),
        (["--length", "3", "--beam-widths", "0"], "argument --beam-widths: must be whole numbers of at least 1"),
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
