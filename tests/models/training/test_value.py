"""`listwright train`: from a list file to a run folder, through the command line as a user calls it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.cli import main
from models.data.batches import encode_lists
from models.data.list_writer import write_lists
from models.data.records import ListRecord
from models.judging.value_report import predict
from models.nets.checkpoint import load_checkpoint
from models.nets.value import COUNTED, ValueConfig
from models.training.loop import TrainOptions
from models.training.value import choose_device, train_value_model
from models.training.value_choice import ValueOptions
from tests.models.specs import fit_spec
from tests.models.training.records import make_records

SMALL = ["--dim", "16", "--layers", "1", "--heads", "2", "--field-dim", "4", "--list-length", "4", "--threads", "1"]
SPLITS = {"train": 48, "valid": 16, "test": 16}


def lists_of(*splits: str) -> list[ListRecord]:
    return [
        dataclasses.replace(record, request_id=f"{split}-{record.request_id}")
        for seed, split in enumerate(splits)
        for record in make_records(SPLITS[split], seed=seed, split=split)  # type: ignore[arg-type]
    ]


@pytest.fixture
def list_file(tmp_path: Path) -> Path:
    path = tmp_path / "lists.parquet"
    write_lists(path, lists_of(*SPLITS), {"source": "made up", "seed": 7})
    return path


def train(data: Path, out: Path, *more: str) -> int:
    """Train two epochs, on the validation lists unless told otherwise."""
    more = more if "--folds" in more else ("--folds", "0", *more)
    return main(["train", "sort-gen", "--data", str(data), "--out", str(out), "--epochs", "2", *SMALL, *more])


def test_a_run_folder_holds_model_metrics_log_and_state(
    list_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "first"
    assert train(list_file, out, "--seed", "5") == 0
    assert sorted(p.name for p in out.iterdir()) == ["checkpoint.pt", "last.pt", "log.jsonl", "metrics.json"]
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    assert metrics["lists"] == SPLITS
    assert metrics["folds"] == 0
    assert metrics["test"]["click"]["list"]["lists"] == SPLITS["test"]
    assert all(
        metrics[split][name]["negative_increments"] == 0 for split in SPLITS if split in metrics for name in COUNTED
    )
    printed = capsys.readouterr().out
    verdict = load_checkpoint(out / "checkpoint.pt").provenance["verdict"]
    assert metrics["verdict"] == verdict
    assert f"Verdict: {verdict['outcome']}. {verdict['sentence']}" in printed
    assert "share of the learnt correction kept: click" in printed


def test_outcomes_past_the_list_length_are_counted_and_told(
    list_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(list_file, tmp_path / "whole") == 0
    assert "past --list-length" not in capsys.readouterr().out
    assert "past_list_length" not in json.loads((tmp_path / "whole" / "metrics.json").read_text("utf-8"))
    assert train(list_file, tmp_path / "cut", "--list-length", "3") == 0
    learnt = lists_of("train", "valid")
    past, clicks = sum(record.clicks[3] for record in learnt), sum(sum(record.clicks) for record in learnt)
    line = f"64 of 256 shown items, {past} of {clicks} clicks and "
    printed = capsys.readouterr().out
    assert line in printed
    assert "lie past --list-length 3 and are not learnt from" in printed
    lost = json.loads((tmp_path / "cut" / "metrics.json").read_text("utf-8"))["past_list_length"]
    assert (lost["list_length"], lost["past"]["clicks"], lost["total"]["clicks"]) == (3, past, clicks)


def test_the_checkpoint_says_where_it_came_from_and_holds_the_units(list_file: Path, tmp_path: Path) -> None:
    train(list_file, tmp_path / "run", "--seed", "5")
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    data = checkpoint.provenance["data"]
    assert data["file"] == "lists.parquet"
    assert data["sha256"] == hashlib.sha256(list_file.read_bytes()).hexdigest()
    assert data["metadata"] == {"source": "made up", "seed": 7}
    assert checkpoint.provenance["seed"] == 5
    assert checkpoint.provenance["versions"]["torch"] == torch.__version__
    assert str(tmp_path) not in json.dumps(checkpoint.provenance)
    records = [r for r in lists_of("train") if r.split == "train"]
    clicks = np.concatenate([r.clicks for r in records])
    assert checkpoint.units["click"] == pytest.approx(clicks.mean())
    assert checkpoint.spec.fingerprint == fit_spec(records).fingerprint


def test_the_checkpoint_gives_the_metrics_that_the_file_claims(list_file: Path, tmp_path: Path) -> None:
    train(list_file, tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    test = encode_lists([r for r in lists_of(*SPLITS) if r.split == "test"], checkpoint.spec, 4)
    outcomes = predict(checkpoint.model, test, torch.device("cpu"))
    clicks = test.labels[:, :, 0].sum()
    assert metrics["test"]["click"]["list"]["pcoc"] == pytest.approx(outcomes[:, -1, 0].sum() / clicks, rel=1e-5)


@pytest.mark.long
def test_resuming_a_finished_run_changes_nothing_and_a_second_run_needs_another_folder(
    list_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train(list_file, out)
    metrics = (out / "metrics.json").read_bytes()
    assert train(list_file, out) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert train(list_file, out, "--resume") == 0
    assert (out / "metrics.json").read_bytes() == metrics
    assert train(list_file, out, "--resume", "--seed", "1") == 2
    assert "seed was 0, not 1" in capsys.readouterr().err


def test_a_file_without_training_lists_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "lists.parquet"
    write_lists(data, lists_of("valid", "test"), {})
    assert train(data, tmp_path / "run") == 2
    assert "has no lists of split 'train'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_lists_that_show_nothing_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "lists.parquet"
    records = [
        dataclasses.replace(record, exposed=(), clicks=(), purchases=None, gmv=None)
        for record in lists_of("train", "valid", "test")
    ]
    write_lists(data, records, {})
    assert train(data, tmp_path / "run") == 2
    printed = capsys.readouterr()
    assert "no list shows an item" in printed.out
    assert f"{data}: the lists to learn from show no item: `exposed` is empty in all of them" in printed.err
    assert not (tmp_path / "run").exists()


def test_choosing_on_validation_lists_that_are_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "lists.parquet"
    write_lists(data, lists_of("train", "test"), {})
    assert train(data, tmp_path / "run", "--folds", "0") == 2
    assert "folds: there are no lists of split 'valid'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dim", "0"], "--dim: must be at least 1, not 0"),
        (["--heads", "3"], "must be a multiple of heads"),
        (["--learning-rate", "-1"], "learning_rate must be positive"),
        (["--threads", "0"], "--threads: must be at least 1"),
        (["--dropout", "1.5"], "dropout"),
        (["--folds", "1"], "folds: must be 0 or at least 2, not 1"),
        (["--folds", "65"], "folds: must be within 2 and the number of lists (64), not 65"),
        (["--listwise", "-1"], "listwise: must be at least 0"),
        (["--loss", "pointwise"], "--loss: the hazard head is trained by path or ordered, not by pointwise"),
        (["--states", "0"], "states: must be at least 1, not 0"),
        (["--loss", "path", "--head", "independent"], "the independent head is trained by ordered, not by path"),
    ],
)
def test_an_impossible_option_is_named(
    list_file: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(list_file, tmp_path / "run", *options) == 2
    assert message in capsys.readouterr().err


def test_a_missing_list_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "none.parquet", tmp_path / "run") == 2
    assert "none.parquet: cannot be read" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_is_not_silently_replaced_by_the_cpu() -> None:
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="device cuda: there is no CUDA device"):
        choose_device("cuda")


def obeying(record: ListRecord) -> ListRecord:
    """The first item of category c0 in the list is clicked, and nothing else: neighbours decide, not scores."""
    categories = [record.candidates[i].features["category"] for i in record.exposed]
    first = categories.index("c0") if "c0" in categories else -1
    clicks = tuple(int(j == first) for j in range(len(categories)))
    return dataclasses.replace(record, clicks=clicks, purchases=None, gmv=None)


@pytest.mark.long
def test_it_learns_that_an_item_is_worth_nothing_after_a_similar_one(tmp_path: Path) -> None:
    data = tmp_path / "lists.parquet"
    splits = {"train": 400, "valid": 100, "test": 100}
    records = [
        obeying(dataclasses.replace(r, request_id=f"{s}-{r.request_id}"))
        for seed, (s, n) in enumerate(splits.items())
        for r in make_records(n, seed=seed, split=s)  # type: ignore[arg-type]
    ]
    write_lists(data, records, {})
    config = ValueConfig(dim=32, layers=2, heads=2, list_length=4, field_dim=8)
    options = TrainOptions(epochs=25, batch_size=32, learning_rate=3e-3)
    checkpoint = train_value_model(
        data,
        tmp_path / "run",
        family="sort-gen",
        config=config,
        options=options,
        device=torch.device("cpu"),
        value_options=ValueOptions(folds=0),
    )
    test = encode_lists([r for r in records if r.split == "test"], checkpoint.spec, 4)
    increments = np.diff(predict(checkpoint.model, test, torch.device("cpu"))[:, :, 0], axis=1, prepend=0)
    assert increments[test.labels[:, :, 0] == 1].mean() > 0.9
    assert np.abs(increments[test.labels[:, :, 0] == 0]).mean() < 0.05
    assert checkpoint.units["conversion"] == 1.0
