"""A trained list value model on disk: weights, sizes, feature spec, units and where it came from.

Only plain types and tensors are stored and read (``weights_only``), so a checkpoint cannot run code when it is opened.
It knows nothing about training (`loop.py`) or serving (`export`).
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from models.files import whole_file
from models.spec import OBJECTIVES, FeatureSpec, SpecError, record
from models.value import ListValueModel, ValueConfig

FORMAT: Final = 1
KIND: Final = "list value model"


class CheckpointError(ValueError):
    """A file that cannot be used as a checkpoint; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """A list value model and what one must know to serve it.

    `units` are s_o, the mean outcome of an exposed slot in training, per objective. `provenance` is plain JSON: data,
    seed, options, versions, metrics.
    """

    model: ListValueModel
    units: Mapping[str, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> FeatureSpec:
        """How the model's features are encoded."""
        return self.model.spec

    @property
    def config(self) -> ValueConfig:
        """The model's sizes."""
        return self.model.config


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path`, whole or not at all."""
    payload = {
        "format": FORMAT,
        "config": dataclasses.asdict(checkpoint.config),
        "spec": json.dumps(checkpoint.spec.to_json()),
        "fingerprint": checkpoint.spec.fingerprint,
        "units": dict(checkpoint.units),
        "provenance": json.dumps(dict(checkpoint.provenance)),
        "state": checkpoint.model.state_dict(),
    }
    save_payload(path, KIND, payload)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint, its model in evaluation mode.

    Raises `CheckpointError` if the file is missing, truncated, damaged or of another kind, if its fingerprint is not
    that of the spec in it, or if its weights do not fit its sizes.
    """
    payload = load_payload(path, KIND, device)
    try:
        if payload["format"] != FORMAT:
            raise CheckpointError(f"{path}: has format {payload['format']!r}; this version reads {FORMAT}")
        spec = FeatureSpec.from_json(json.loads(payload["spec"]))
        if payload["fingerprint"] != spec.fingerprint:
            raise CheckpointError(
                f"{path}: its fingerprint is {payload['fingerprint']!r}, but the spec in it has {spec.fingerprint!r}"
            )
        model = ListValueModel(spec, record(ValueConfig, payload["config"], "config")).to(device)
        model.load_state_dict(payload["state"])
        units = {name: float(payload["units"][name]) for name in OBJECTIVES}
        provenance = json.loads(payload["provenance"])
    except KeyError as error:
        raise CheckpointError(f"{path}: lacks {error}") from error
    except SpecError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit its spec and sizes: {error}") from error
    return Checkpoint(model.eval(), units, provenance)


def save_payload(path: Path, kind: str, payload: Mapping[str, Any]) -> None:
    """`torch.save` plain types and tensors under `path`; the name appears only when the file is complete."""
    with whole_file(path) as partial:
        torch.save({"kind": kind, **payload}, partial)


def load_payload(path: Path, kind: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `save_payload` wrote. Raises `CheckpointError` if it is missing, damaged or of another kind."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        _check_sums(path)
        payload = torch.load(path, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
        raise CheckpointError(f"{path}: is truncated, damaged or no checkpoint: {error}") from error
    if not isinstance(payload, dict) or payload.get("kind") != kind:
        raise CheckpointError(f"{path}: is not a {kind}")
    return payload


def _check_sums(path: Path) -> None:
    # PyTorch writes a zip archive with a checksum per tensor, but does not compare them when it reads.
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} differs")
