"""A small evaluator, a list file for it, and mining both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.data.list_writer import write_lists
from models.data.records import ListRecord
from models.data.slates import SlateArrays, encode_slates
from models.mining.join import join_mined
from models.mining.mine import mine
from models.mining.miner import MiningOptions
from models.mining.shards import MinedArrays, MinedManifest
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from tests.models.planners.examples import UNITS, random_model
from tests.models.planners.plain import shaken
from tests.models.specs import fit_spec
from tests.models.training.records import make_record

CPU = torch.device("cpu")
LENGTH = 3
SIZES = (4, 6, 5)
"""Candidates of the requests, in turn."""


def some_records(train: int = 7, valid: int = 2) -> list[ListRecord]:
    """Requests of several sizes."""
    return [
        make_record(i, shown=3, candidates=SIZES[i % len(SIZES)], split="train" if i < train else "valid")
        for i in range(train + valid)
    ]


def evaluator(records: list[ListRecord], seed: int = 0, *, horizon: int = LENGTH) -> Checkpoint:
    """An untrained evaluator whose spec fits the records."""
    config = ValueConfig(dim=8, layers=2, heads=2, list_length=horizon, field_dim=4, input_block="fields")
    return Checkpoint(shaken(random_model(fit_spec(records), config, seed), seed), UNITS)


def encoded(records: list[ListRecord], checkpoint: Checkpoint) -> SlateArrays:
    """The records as the evaluator reads them."""
    return encode_slates(records, checkpoint.spec, checkpoint.config.list_length)


def mine_some(folder: Path, checkpoint: Checkpoint, records: list[ListRecord], **options: Any) -> MinedManifest:
    """Mine with narrow beams and small shards, unless told otherwise."""
    chosen = MiningOptions(**{"width": 4, "shard_size": 3, **options})
    return mine(checkpoint, encoded(records, checkpoint), folder, options=chosen, device=CPU)


def joined(folder: Path, records: Sequence[ListRecord], checkpoint: Checkpoint) -> MinedArrays:
    """What was mined in a folder, joined to its requests."""
    return join_mined(folder, encoded(list(records), checkpoint), checkpoint.spec.fingerprint)


def files(folder: Path, records: list[ListRecord], checkpoint: Checkpoint) -> list[str]:
    """What the command takes: ``--data`` and ``--evaluator``, written into a folder."""
    data, saved = folder / "lists.parquet", folder / "evaluator.pt"
    write_lists(data, records, {})
    save_checkpoint(saved, checkpoint)
    return ["--data", str(data), "--evaluator", str(saved)]


def equal_candidates(record: ListRecord) -> ListRecord:
    """The record with all candidates like its first one but for their ids."""
    first = record.candidates[0]
    alike = [type(first)(c.id, first.scores, first.price, first.features) for c in record.candidates]
    return type(record)(**{**{n: getattr(record, n) for n in record.__slots__}, "candidates": tuple(alike)})


def one_batch(slates: SlateArrays, row: int) -> dict[str, torch.Tensor]:
    """One request's feature tensors without padding."""
    one = slates.take(np.array([row])).features
    n = int(one["valid"].sum())
    return {name: torch.from_numpy(v if name.startswith("user") else v[:, :n]) for name, v in one.items()}
