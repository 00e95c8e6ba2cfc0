"""From a list file to a served generator's checkpoint, through the command line as a user calls it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from models.cli import main
from models.data.list_file import read_lists
from models.data.list_writer import write_lists
from models.data.slates import encode_slates
from models.nets.checkpoint import CheckpointError, checkpoint_kind, load_checkpoint, load_generator_checkpoint
from tests.models.training.records import make_records

SIZES = ["--dim", "8", "--layers", "1", "--heads", "2", "--field-dim", "4", "--threads", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a list file, an evaluator trained on it and sequences that it mined."""
    root = tmp_path_factory.mktemp("degre")
    records = [
        dataclasses.replace(record, request_id=f"{split}-{record.request_id}")
        for seed, (split, count) in enumerate((("train", 60), ("valid", 10), ("test", 10)))
        for record in make_records(count, seed=seed, split=split)  # type: ignore[arg-type]
    ]
    write_lists(root / "lists.parquet", records, {"source": "made up"})
    evaluator = ["train", "degre-evaluator", "--data", str(root / "lists.parquet"), "--out", str(root / "evaluator")]
    assert main([*evaluator, "--epochs", "1", "--list-length", "4", *SIZES]) == 0
    assert mine(root, "mined") == 0
    assert mine(root, "sampled", "--objectives", "sampled") == 0
    return root


def mine(root: Path, name: str, *more: str) -> int:
    command = ["mine", "--data", str(root / "lists.parquet"), "--evaluator", str(root / "evaluator" / "checkpoint.pt")]
    return main([*command, "--out", str(root / name), "--width", "2", "--threads", "1", *more])


def distil(root: Path, out: Path, *more: str, mined: str = "mined") -> int:
    evaluator = root / "evaluator" / "checkpoint.pt"
    files = ["--data", str(root / "lists.parquet"), "--mined", str(root / mined), "--evaluator", str(evaluator)]
    return main(["train", "degre-generator", *files, "--out", str(out), "--epochs", "2", *SIZES, *more])


@pytest.mark.long
def test_a_run_folder_holds_generator_evaluator_and_where_they_came_from(run: Path, tmp_path: Path) -> None:
    assert distil(run, tmp_path / "run", "--seed", "3") == 0
    path = tmp_path / "run" / "checkpoint.pt"
    assert checkpoint_kind(path) == "generator"
    found, teacher = load_generator_checkpoint(path), load_checkpoint(run / "evaluator" / "checkpoint.pt")
    assert found.spec.fingerprint == teacher.spec.fingerprint
    for name, weight in teacher.model.state_dict().items():
        assert torch.equal(found.evaluator.state_dict()[name], weight)
    assert found.units == teacher.units
    assert found.objectives == {"click": 1.0, "conversion": 0.0, "gmv": 0.0}
    assert found.provenance["family"] == "degre"
    assert found.provenance["seed"] == 3
    assert found.provenance["metrics"] == json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert found.provenance["metrics"]["requests"] == {"train": 60, "valid": 10}


def test_the_generator_of_a_checkpoint_makes_lists(run: Path, tmp_path: Path) -> None:
    assert distil(run, tmp_path / "run") == 0
    checkpoint = load_generator_checkpoint(tmp_path / "run" / "checkpoint.pt")
    records = list(read_lists(run / "lists.parquet", "test"))
    batch = encode_slates(records, checkpoint.spec, 4).tensors(torch.device("cpu"))
    for row in checkpoint.generator.generate(batch, 4).tolist():
        assert len(set(row)) == 4
        assert set(row) <= set(range(6))


def test_a_generator_is_as_long_as_its_sequences(run: Path, tmp_path: Path) -> None:
    assert mine(run, "short", "--length", "3") == 0
    assert distil(run, tmp_path / "run", mined="short") == 0
    assert load_generator_checkpoint(tmp_path / "run" / "checkpoint.pt").config.list_length == 3


def test_sequences_of_sampled_objectives_make_a_conditioned_generator(run: Path, tmp_path: Path) -> None:
    assert distil(run, tmp_path / "run", mined="sampled") == 0
    checkpoint = load_generator_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert checkpoint.config.conditioned
    assert sum(checkpoint.objectives.values()) == pytest.approx(1.0)


def test_resuming_a_finished_run_changes_nothing(run: Path, tmp_path: Path) -> None:
    assert distil(run, tmp_path / "run") == 0
    before = load_generator_checkpoint(tmp_path / "run" / "checkpoint.pt").generator.state_dict()
    assert distil(run, tmp_path / "run", "--resume") == 0
    after = load_generator_checkpoint(tmp_path / "run" / "checkpoint.pt").generator.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_a_generator_does_not_replace_its_evaluator(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluator = run / "evaluator"
    before = (evaluator / "checkpoint.pt").read_bytes()
    (evaluator / "last.pt").unlink(missing_ok=True)  # cross-fitting whose best epoch is 0 leaves none
    assert distil(run, evaluator) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (evaluator / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--alpha", "-1"], "alpha must be at least 0"),
        (["--no-hard-labels", "--alpha", "0"], "nothing else supervises"),
        (["--weight-temperature", "0"], "--weight-temperature: must be positive"),
        (["--mined", "nowhere"], "holds no mined sequences"),
        (["--evaluator", "nowhere.pt"], "there is no such file"),
    ],
)
def test_an_impossible_option_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], problem: str
) -> None:
    assert distil(run, tmp_path / "run", *options) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_sequences_of_an_evaluator_with_other_features_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [dataclasses.replace(r, user={"plan": "pro"}) for r in read_lists(run / "lists.parquet")]
    write_lists(tmp_path / "lists.parquet", records, {"source": "made up"})
    command = ["train", "degre-evaluator", "--data", str(tmp_path / "lists.parquet"), "--out", str(tmp_path / "other")]
    assert main([*command, "--epochs", "1", "--list-length", "4", *SIZES]) == 0
    capsys.readouterr()
    assert distil(run, tmp_path / "run", "--evaluator", str(tmp_path / "other" / "checkpoint.pt")) == 2
    assert "was mined by an evaluator with feature spec" in capsys.readouterr().err


def test_sequences_of_an_evaluator_with_other_weights_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "degre-evaluator", "--data", str(run / "lists.parquet"), "--out", str(tmp_path / "other")]
    assert main([*command, "--epochs", "1", "--seed", "1", "--list-length", "4", *SIZES]) == 0
    capsys.readouterr()
    assert distil(run, tmp_path / "run", "--evaluator", str(tmp_path / "other" / "checkpoint.pt")) == 2
    assert "was mined by an evaluator with other weights" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_sequences_without_validation_lists_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mine(run, "train-only", "--valid-slates", "0") == 0
    capsys.readouterr()
    assert distil(run, tmp_path / "run", mined="train-only") == 2
    assert "no sequences for lists of split 'valid'" in capsys.readouterr().err


def test_a_value_model_is_not_read_as_a_generator_nor_the_reverse(run: Path, tmp_path: Path) -> None:
    assert distil(run, tmp_path / "run") == 0
    with pytest.raises(CheckpointError, match="is not a generator"):
        load_generator_checkpoint(run / "evaluator" / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="is not a list value model"):
        load_checkpoint(tmp_path / "run" / "checkpoint.pt")
