"""Trainings read windows: the same on disk as in memory, only the columns they need, with choices about fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data import array_store
from models.data.batches import encode_lists
from models.data.field_choices import FieldChoices
from models.data.fit_spec import SpecFitter
from models.data.list_file import ListFile
from models.data.list_splits import ListSplits
from models.data.list_writer import write_lists
from models.data.records import ListRecord, Split
from models.data.windows import ListWindow
from models.nets.checkpoint import CheckpointError, load_checkpoint
from models.nets.value import ValueConfig
from models.training import value_fit
from models.training.loop import TrainOptions
from models.training.value import train_value_model
from models.training.value_choice import ValueOptions
from tests.models.specs import fit_spec
from tests.models.training.shops import CONFIG, SHOWN, shop_records

SIZES: dict[Split, int] = {"train": 60, "valid": 20, "test": 20}
RECORDS = [r for i, (split, n) in enumerate(SIZES.items()) for r in shop_records(n, seed=i, split=split)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A list file whose splits are mixed."""
    path = tmp_path / "lists.parquet"
    write_lists(path, [RECORDS[i] for i in np.random.default_rng(0).permutation(len(RECORDS))], {})
    return path


def train(data: Path, folder: Path, config: ValueConfig = CONFIG, **more: Any) -> bytes:
    """Train one epoch; return all weights."""
    options = {"options": TrainOptions(epochs=1, batch_size=16), "value_options": ValueOptions(folds=0)}
    train_value_model(
        data, folder, family="sort-gen", config=config, device=torch.device("cpu"), **(options | more)  # type: ignore[arg-type]
    )  # fmt: skip
    weights = load_checkpoint(folder / "checkpoint.pt").model.state_dict()
    return b"".join(values.numpy().tobytes() for values in weights.values())


def in_order(data: Path, split: Split) -> list[ListRecord]:
    return [r for window in ListFile(data).windows() for r in window.records() if r.split == split]


def test_sets_of_splits_are_encoded_as_their_records_one_split_after_another(data: Path, tmp_path: Path) -> None:
    fitter = SpecFitter()
    splits = ListSplits.read(ListFile(data), fitter)
    assert splits.counts == SIZES
    by_split = {split: in_order(data, split) for split in SIZES}
    assert fitter.fit().fingerprint == fit_spec(by_split["train"]).fingerprint
    splits.fit(fitter, ["valid"])
    spec = fitter.fit()
    assert spec.fingerprint == fit_spec(by_split["train"] + by_split["valid"]).fingerprint
    found = splits.encode(spec, 3, {"both": ("train", "valid"), "test": ("test",)}, tmp_path, embeddings=True)
    assert found["both"].digest == encode_lists(by_split["train"] + by_split["valid"], spec, 3).digest
    assert found["test"].digest == encode_lists(by_split["test"], spec, 3).digest


def test_shares_of_the_lists_nest_and_leave_the_other_splits_whole(data: Path, tmp_path: Path) -> None:
    splits = ListSplits.read(ListFile(data), SpecFitter())
    shares = [splits.share(share, ("train", "valid"), 5) for share in (0.01, 0.3, 0.6)]
    assert [s.counts for s in shares] == [
        {"train": 2, "valid": 2, "test": 20},
        {"train": 18, "valid": 6, "test": 20},
        {"train": 36, "valid": 12, "test": 20},
    ]
    spec = fit_spec(RECORDS)
    encoded = [s.encode(spec, 3, {"train": ("train",)}, tmp_path, embeddings=False)["train"] for s in shares]
    rows = [{row.tobytes() for row in lists.features["priors"]} for lists in encoded]
    assert [len(own) for own in rows] == [2, 18, 36]
    assert rows[0] < rows[1] < rows[2]


@pytest.mark.long
@pytest.mark.parametrize("folds", [0, 2])
def test_a_training_with_arrays_on_disk_is_the_one_in_memory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: int
) -> None:
    chosen = ValueOptions(folds=folds, curve=(0.5,) if folds else ())
    expected = train(data, tmp_path / "memory", value_options=chosen)
    monkeypatch.setattr(array_store, "LARGE", 1)
    assert train(data, tmp_path / "disk", value_options=chosen) == expected
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text("utf-8")) for name in ("memory", "disk")]
    assert metrics[0] == metrics[1]
    files = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("memory", "disk")]
    assert files[0] == files[1]


def test_offsets_are_fitted_on_a_sample_of_a_large_log(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = encode_lists(RECORDS, fit_spec(RECORDS), SHOWN)

    def place_offsets(most: int) -> torch.Tensor:
        monkeypatch.setattr(value_fit, "CALIBRATED", most)
        model = value_fit.new_model(fit_spec(RECORDS), CONFIG, lists, seed=0)
        start = value_fit.start_from_rates(model, lists, listwise=0.0)
        value_fit.settle(model, lists, start)
        return model.hazard_heads[0].place_offset.detach()

    whole = place_offsets(len(lists))
    assert torch.equal(place_offsets(1000), whole)
    assert not torch.equal(place_offsets(50), whole)
    assert torch.equal(place_offsets(50), place_offsets(50))


@pytest.mark.parametrize(("context", "read"), [("none", False), ("full", True)])
def test_embeddings_are_read_only_for_list_context_and_not_to_fit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: Any, read: bool
) -> None:
    asked: list[bool] = []
    windows = ListFile.windows

    def spy(file: ListFile, *args: Any, **options: Any) -> Iterator[ListWindow]:
        asked.append(options.get("embeddings", True))
        return windows(file, *args, **options)

    monkeypatch.setattr(ListFile, "windows", spy)
    train(data, tmp_path / "run", ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=2, context=context))
    assert asked == [False, read]


def test_choices_about_fields_are_kept_and_a_resumed_training_must_share_them(data: Path, tmp_path: Path) -> None:
    choices = FieldChoices({"category": "ignore"}, max_vocabulary=9)
    train(data, tmp_path / "run", fields=choices)
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert checkpoint.spec.item == ()
    assert checkpoint.provenance["fields"] == {
        "kinds": {"category": "ignore"}, "max_vocabulary": 9, "min_count": 2, "hash_buckets": 65536,
    }  # fmt: skip
    with pytest.raises(CheckpointError, match="fields: max_vocabulary was 9, not 10"):
        train(data, tmp_path / "run", fields=FieldChoices({"category": "ignore"}, max_vocabulary=10), resume=True)
    with pytest.raises(ValueError, match="field colour: there is none of that name"):
        train(data, tmp_path / "other", fields=FieldChoices({"colour": "hash"}))
    assert not (tmp_path / "other").exists()
