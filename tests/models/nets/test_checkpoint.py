"""A checkpoint gives back the same model, or says what is wrong with the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from models.data.batches import encode_lists
from models.nets.checkpoint import (
    VALUE_KIND,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    load_payload,
    save_checkpoint,
    save_payload,
)
from models.nets.value import ValueConfig
from tests.models.planners.examples import random_model
from tests.models.planners.plain import shaken
from tests.models.specs import fit_spec
from tests.models.training.records import make_records

UNITS = {"click": 0.1, "conversion": 0.02, "gmv": 1.5}
CONFIG = ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4)
SINCE_HAZARDS = ("states", "context", "context_dim", "cosines", "affinity")
"""Sizes that a checkpoint of the papers' head did not have before there were hazards."""


def some_checkpoint(config: ValueConfig) -> Checkpoint:
    model = shaken(random_model(fit_spec(make_records(20)), config, seed=0), seed=0)
    return Checkpoint(model, UNITS, {"seed": 3, "data": {"file": "lists.parquet"}})


def same_values(a: Checkpoint, b: Checkpoint) -> bool:
    batch = encode_lists(make_records(5), a.spec, 4).tensors(torch.device("cpu"))
    with torch.inference_mode():
        return torch.equal(a.model.increments(batch), b.model.increments(batch))


@pytest.fixture
def checkpoint() -> Checkpoint:
    return some_checkpoint(CONFIG)


def test_a_round_trip_keeps_predictions_units_and_provenance(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "run" / "checkpoint.pt"
    save_checkpoint(path, checkpoint)
    loaded = load_checkpoint(path)
    assert (loaded.spec, loaded.config) == (checkpoint.spec, checkpoint.config)
    assert (loaded.units, loaded.provenance) == (checkpoint.units, checkpoint.provenance)
    assert not loaded.model.training
    assert same_values(loaded, checkpoint)
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_shares_and_what_is_valued_are_kept(tmp_path: Path, checkpoint: Checkpoint) -> None:
    checkpoint.model.valued.copy_(torch.tensor([1.0, 0.0]))
    checkpoint.model.hazard_heads[0].share.fill_(0.25)
    save_checkpoint(tmp_path / "checkpoint.pt", checkpoint)
    loaded = load_checkpoint(tmp_path / "checkpoint.pt").model
    assert loaded.valued.tolist() == [1, 0]
    assert loaded.hazard_heads[0].share.item() == 0.25


@pytest.mark.parametrize("missing", [SINCE_HAZARDS, (*SINCE_HAZARDS, "head", "input_block")])
def test_a_checkpoint_from_before_hazards_values_lists_as_it_did(tmp_path: Path, missing: tuple[str, ...]) -> None:
    """The oldest had no choice of heads either: what is missing meant the papers' head."""
    before = some_checkpoint(replace(CONFIG, head="independent"))
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, before)
    payload = load_payload(path, VALUE_KIND)
    for name in missing:
        del payload["config"][name]
    assert set(payload["state"]) & {"valued", "heads.click.share", "context_token.weight"} == set()
    save_payload(path, VALUE_KIND, payload)
    loaded = load_checkpoint(path)
    assert loaded.config.head == "independent"
    assert same_values(loaded, before)


def test_hazards_from_before_there_were_affinities_have_none(tmp_path: Path) -> None:
    before = some_checkpoint(replace(CONFIG, affinity=0))
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, before)
    payload = load_payload(path, VALUE_KIND)
    del payload["config"]["affinity"]
    assert not any(name.startswith("affinity") for name in payload["state"])
    save_payload(path, VALUE_KIND, payload)
    loaded = load_checkpoint(path)
    assert (loaded.config.head, loaded.config.affinity) == ("hazard", 0)
    assert same_values(loaded, before)


def test_a_checkpoint_of_the_head_that_hazards_replaced_says_to_train_again(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, some_checkpoint(replace(CONFIG, head="independent")))
    payload = load_payload(path, VALUE_KIND)
    payload["config"]["head"] = "monotone"
    save_payload(path, VALUE_KIND, payload)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: its head is monotone.* train it again"):
        load_checkpoint(path)


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

    def fails(_: object, target: IO[bytes]) -> None:
        target.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, checkpoint)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
