"""Save and load trained models: weights, sizes, feature spec, units and provenance.

There are two kinds of file: a value model, and a generator with the evaluator that it was distilled from. Only plain
types and tensors are stored and read (``weights_only``), so a checkpoint cannot run code when it is opened.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from models.contract.spec import OBJECTIVES, FeatureSpec, SpecError, record
from models.data.batches import digest
from models.files import whole_file
from models.nets.generator import GeneratorConfig, PointerGenerator
from models.nets.value import ListValueModel, ValueConfig

FORMAT: Final = 1
VALUE_KIND: Final = "list value model"
GENERATOR_KIND: Final = "generator"


class CheckpointError(ValueError):
    """Report a file that is no usable checkpoint, by its name and the problem."""


@dataclass(frozen=True)
class Checkpoint:
    """Hold a list value model and all that serving it needs.

    `units` are s_o, the mean outcome of an exposed slot in training. `provenance` is plain JSON: data, seed, options, …
    """

    model: ListValueModel
    units: Mapping[str, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> FeatureSpec:
        return self.model.spec

    @property
    def config(self) -> ValueConfig:
        return self.model.config


@dataclass(frozen=True)
class GeneratorCheckpoint:
    """Hold a generator and the evaluator that it was distilled from.

    `objectives` are the α, β, γ of the sequences it learnt; a conditioned generator learnt many, and these are its
    default. `units` and `provenance` as in `Checkpoint`. Raises `CheckpointError` if the two models have different
    feature specs.
    """

    generator: PointerGenerator
    evaluator: ListValueModel
    units: Mapping[str, float]
    objectives: Mapping[str, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.generator.spec.fingerprint != self.evaluator.spec.fingerprint:
            raise CheckpointError(
                f"the generator's feature spec is {self.generator.spec.fingerprint!r}, "
                f"but its evaluator's is {self.evaluator.spec.fingerprint!r}"
            )

    @property
    def spec(self) -> FeatureSpec:
        return self.generator.spec

    @property
    def config(self) -> GeneratorConfig:
        return self.generator.config


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a value model's checkpoint, whole or not at all."""
    payload = {
        **_common(checkpoint),
        "config": dataclasses.asdict(checkpoint.config),
        "state": checkpoint.model.state_dict(),
    }
    save_payload(path, VALUE_KIND, payload)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a value model's checkpoint, its model in evaluation mode.

    Raises `CheckpointError` if the file is missing, truncated, damaged or of another kind, if its fingerprint is not
    that of the spec in it, or if its weights do not fit its sizes.
    """
    payload = load_payload(path, VALUE_KIND, device)
    with naming(path):
        spec = _spec(payload)
        model = _value_model(spec, payload["config"], payload["state"], device)
        return Checkpoint(model, _by_objective(payload, "units"), json.loads(payload["provenance"]))


def save_generator(path: Path, checkpoint: GeneratorCheckpoint) -> None:
    """Write a generator's checkpoint, whole or not at all."""
    payload = {
        **_common(checkpoint),
        "objectives": dict(checkpoint.objectives),
        "config": dataclasses.asdict(checkpoint.config),
        "state": checkpoint.generator.state_dict(),
        "evaluator_config": dataclasses.asdict(checkpoint.evaluator.config),
        "evaluator_state": checkpoint.evaluator.state_dict(),
    }
    save_payload(path, GENERATOR_KIND, payload)


def load_generator_checkpoint(path: Path, device: torch.device | str = "cpu") -> GeneratorCheckpoint:
    """Read a generator's checkpoint, both models in evaluation mode. Raises as `load_checkpoint` does."""
    payload = load_payload(path, GENERATOR_KIND, device)
    with naming(path):
        spec = _spec(payload)
        generator = PointerGenerator(spec, record(GeneratorConfig, payload["config"], "config")).to(device)
        generator.load_state_dict(payload["state"])
        return GeneratorCheckpoint(
            generator.eval(),
            _value_model(spec, payload["evaluator_config"], payload["evaluator_state"], device),
            _by_objective(payload, "units"),
            _by_objective(payload, "objectives"),
            json.loads(payload["provenance"]),
        )


def checkpoint_kind(path: Path) -> str:
    """Read the kind of a checkpoint: `VALUE_KIND` or `GENERATOR_KIND`. Raises `CheckpointError` for anything else."""
    kind = _load(path, "cpu")["kind"]
    if kind not in (VALUE_KIND, GENERATOR_KIND):
        raise CheckpointError(f"{path}: is a {kind}, neither a {VALUE_KIND} nor a {GENERATOR_KIND}")
    return str(kind)


def load_spec(path: Path) -> FeatureSpec:
    """Read the feature spec of a checkpoint of any kind. Raises `CheckpointError`."""
    payload = _load(path, "cpu")
    with naming(path):
        return _spec(payload)


def weights_digest(model: nn.Module) -> str:
    """Compute the SHA-256 of a model's weights, in hex, to compare models by."""
    return digest({name: weights.detach().cpu().numpy() for name, weights in model.state_dict().items()})


def save_payload(path: Path, kind: str, payload: Mapping[str, Any]) -> None:
    """Save plain types and tensors under `path`, whole or not at all.

    Raises `OSError`, which names `path` if the disk is full.
    """
    with whole_file(path) as partial, partial.open("wb") as file:
        try:
            torch.save({"kind": kind, **payload}, file)
        except RuntimeError as error:
            # PyTorch closes its archive after a failed write, and tells that it is incomplete instead of why.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_payload(path: Path, kind: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Load a file of `save_payload`. Raises `CheckpointError` if missing, damaged or of another kind."""
    payload = _load(path, device)
    if payload["kind"] != kind:
        raise CheckpointError(f"{path}: is not a {kind}")
    return payload


def _load(path: Path, device: torch.device | str) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        _check_sums(path)
        payload = torch.load(path, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
        raise CheckpointError(f"{path}: is truncated, damaged or no checkpoint: {error}") from error
    if not isinstance(payload, dict) or not isinstance(payload.get("kind"), str):
        raise CheckpointError(f"{path}: is no checkpoint")
    return payload


def _check_sums(path: Path) -> None:
    # PyTorch writes a zip archive with a checksum per tensor, but does not compare them when it reads.
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} differs")


def _common(checkpoint: Checkpoint | GeneratorCheckpoint) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "spec": json.dumps(checkpoint.spec.to_json()),
        "fingerprint": checkpoint.spec.fingerprint,
        "units": dict(checkpoint.units),
        "provenance": json.dumps(dict(checkpoint.provenance)),
    }


def _spec(payload: Mapping[str, Any]) -> FeatureSpec:
    if payload["format"] != FORMAT:
        raise CheckpointError(f"has format {payload['format']!r}; this version reads {FORMAT}")
    spec = FeatureSpec.from_json(json.loads(payload["spec"]))
    if payload["fingerprint"] != spec.fingerprint:
        raise CheckpointError(
            f"its fingerprint is {payload['fingerprint']!r}, but the spec in it has {spec.fingerprint!r}"
        )
    return spec


def _value_model(
    spec: FeatureSpec, config: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str
) -> ListValueModel:
    if config.get("head") == "monotone":
        raise CheckpointError("its head is monotone, which hazards have replaced; train it again")
    # What was saved before there was a choice has the papers' head, and no affinities.
    before = {"head": "independent", "affinity": 0}
    model = ListValueModel(spec, record(ValueConfig, {**before, **config}, "config")).to(device)
    model.load_state_dict(state)
    return model.eval()


def _by_objective(payload: Mapping[str, Any], key: str) -> dict[str, float]:
    return {name: float(payload[key][name]) for name in OBJECTIVES}


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn all errors inside into a `CheckpointError` that names the file."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(f"{path}: lacks {error}") from error
    except (CheckpointError, SpecError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit its spec and sizes: {error}") from error
