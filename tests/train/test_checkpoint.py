"""A checkpoint gives back the same model, or says what is wrong with the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.batches import encode_lists
from models.checkpoint import (
    VALUE_KIND,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    load_payload,
    save_checkpoint,
    save_payload,
)
from models.fit import fit_spec
from models.value import ListValueModel, ValueConfig
from tests.train.records import make_records

UNITS = {"click": 0.1, "conversion": 0.02, "gmv": 1.5}


@pytest.fixture
def checkpoint() -> Checkpoint:
    config = ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4)
    torch.manual_seed(0)
    model = ListValueModel(fit_spec(make_records(20)), config)
    return Checkpoint(model.eval(), UNITS, {"seed": 3, "data": {"file": "lists.parquet"}})


def test_a_round_trip_keeps_predictions_units_and_provenance(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "run" / "checkpoint.pt"
    save_checkpoint(path, checkpoint)
    loaded = load_checkpoint(path)
    assert (loaded.spec, loaded.config) == (checkpoint.spec, checkpoint.config)
    assert (loaded.units, loaded.provenance) == (checkpoint.units, checkpoint.provenance)
    assert not loaded.model.training
    batch = encode_lists(make_records(5), loaded.spec, 4).tensors(torch.device("cpu"))
    with torch.inference_mode():
        assert torch.equal(loaded.model(batch), checkpoint.model(batch))
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: there is no such file"):
        load_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, checkpoint: Checkpoint, kept: float) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, checkpoint)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match="truncated, damaged or no checkpoint"):
        load_checkpoint(path)


def test_a_flipped_bit_in_the_weights_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, checkpoint)
    content = bytearray(path.read_bytes())
    weights = next(w for w in checkpoint.model.state_dict().values() if w.numel() > 100)
    place = bytes(content).index(weights.numpy().tobytes())
    content[place + 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"kind": VALUE_KIND, "state": Path("x")}, path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(path)


def test_training_state_is_not_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_payload(path, "training state", {})
    with pytest.raises(CheckpointError, match=f"is not a {VALUE_KIND}"):
        load_checkpoint(path)


def other_fingerprint(payload: dict[str, Any]) -> None:
    payload["fingerprint"] = "0" * 64


def other_spec(payload: dict[str, Any]) -> None:
    payload["spec"] = payload["spec"].replace('"c1"', '"c9"')


def broken_spec(payload: dict[str, Any]) -> None:
    payload["spec"] = payload["spec"].replace('"hour"', '"hour", "extra": 1')


def other_sizes(payload: dict[str, Any]) -> None:
    payload["config"]["dim"] = 16


def newer_format(payload: dict[str, Any]) -> None:
    payload["format"] = 99


def no_units(payload: dict[str, Any]) -> None:
    del payload["units"]["gmv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_fingerprint, "its fingerprint is '0000"),
        (other_spec, "its fingerprint is"),
        (broken_spec, "extra: unknown key"),
        (other_sizes, "weights do not fit"),
        (newer_format, "has format 99"),
        (no_units, "lacks 'gmv'"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    tmp_path: Path, checkpoint: Checkpoint, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, checkpoint)
    payload = load_payload(path, VALUE_KIND)
    change(payload)
    save_payload(path, VALUE_KIND, payload)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()

    def fails(_: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, checkpoint)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
