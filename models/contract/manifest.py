"""Read and write `bundle.json`, which tells a service all about a model but its weights.

A bundle is a folder ``<name>/<version>/`` with ``model.onnx``, ``bundle.json`` (this) and ``golden.npz`` (recorded
requests with the answers they must give). Standard library only.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from models.contract.spec import OBJECTIVES, FeatureSpec, SpecError, as_mapping, check_keys, record, scalar
from models.contract.tensor_specs import RuledGraph, TensorSpec, array, tensors, tensors_to_json, text
from models.contract.verdict import UNMEASURED, Verdict

FORMAT: Final = 1
MODEL_FILE: Final = "model.onnx"
MANIFEST_FILE: Final = "bundle.json"
GOLDEN_FILE: Final = "golden.npz"
RULED_FILE: Final = "ruled.onnx"
"""The graph of requests with rules; a bundle need not have it."""

RULED_GOLDEN_FILE: Final = "golden_ruled.npz"
"""Recorded requests of the graph for rules."""

EMBEDDED_BUNDLES: Final = Path(__file__).parents[1] / "embedded"
"""Folder of the bundles that are installed with this package: the demo's."""

DEMO_BUNDLE: Final = EMBEDDED_BUNDLES / "demo" / "1"
"""The demo's bundle; `make train-demo` trains it again."""

FINGERPRINT_KEY: Final = "listwright.fingerprint"
"""Key of the spec's fingerprint in the ONNX model's metadata."""

SORT_SLOTS: Final = "sort_slots"
"""Graph input, int64 [B, L]: the slots of the plain sort's list in its order, −1 past its end."""

KEPT_SORT: Final = "kept_sort"
"""Graph output, bool [B]: the sort's list was valued higher than the one planned, so it is what comes back."""

LOOSEST_REPLAY: Final = 0.1
"""Most that a bundle of reduced precision may let recorded answers differ by, in margins of scores and in values."""

_SAME_SHARE: Final = 1e-6

Family = Literal["sort-gen", "degre"]
Partition = Literal["bfs", "dfs"]

_OPTIONAL: Final = ("shares", "valued", "verdict", "ruled")
"""Keys that bundles have not always had."""

_LEARNT_BY: Final = {"click": "click", "conversion": "conversion", "gmv": "conversion"}
"""Objective to the one whose learnt correction its increments hang on: revenue is price times purchases."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Hold the graph's sizes: horizon L, queues Q, h heads each, places, beam width W.

    A `queue_length` of 0 stands for L: of a queue whose heads alone are looked at, nothing behind the first L is ever
    reached. A model that sees all candidates at once has longer ones. A `beam_width` of 1 is greedy.
    """

    list_length: int
    queues: int
    head_width: int = 1
    queue_length: int = 0
    beam_width: int = 1

    def __post_init__(self) -> None:
        if self.queue_length == 0:
            object.__setattr__(self, "queue_length", self.list_length)
        for name in ("list_length", "queues", "head_width", "queue_length", "beam_width"):
            if getattr(self, name) < 1:
                raise SpecError(f"limits.{name}: must be at least 1")

    @property
    def slots(self) -> int:
        """Count the candidates that are ever encoded for one request: all places in all queues."""
        return self.queues * self.queue_length


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """Define one objective queue: candidates in descending order of `score`, a formula (see `formulas.py`)."""

    name: str
    score: str


@dataclass(frozen=True, slots=True)
class DiversityDefaults:
    """Hold MMR's λ in 0..1 (1: value only) and window of items (SORT-Gen, eq. 6)."""

    trade_off: float = 1.0
    window: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.trade_off <= 1:
            raise SpecError(f"diversity.trade_off: must be within 0..1, not {self.trade_off:g}")
        if self.window < 0:
            raise SpecError(f"diversity.window: must be at least 0, not {self.window}")


@dataclass(frozen=True)
class Manifest:
    """Hold the content of `bundle.json`.

    `objectives` are the default α, β, γ, and the only ones if `fixed_objectives`; `units` are s_o, the mean increment
    per exposed slot in training, by which each objective's increment is divided before it is weighted. `fallback` is
    the formula that orders what the model does not reach. `files` maps file name to SHA-256.

    `shares` says per counted objective which share ρ in 0..1 of the learnt correction was kept; None: not known.
    `valued` are the objectives that the model has learnt to value; the others have no default weight. `verdict` is
    what came of comparing the model with the sort. `ruled` describes the graph of requests with rules; None: there is
    none, and rules are refused.
    """

    name: str
    version: str
    family: Family
    spec: FeatureSpec
    limits: Limits
    queues: tuple[QueueSpec, ...]
    partition: Partition
    objectives: Mapping[str, float]
    units: Mapping[str, float]
    diversity: DiversityDefaults
    fallback: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    shares: Mapping[str, float] | None = None
    valued: tuple[str, ...] = OBJECTIVES
    verdict: Verdict = UNMEASURED
    ruled: RuledGraph | None = None

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise SpecError(f"bundle.family: must be one of {get_args(Family)}, not {self.family!r}")
        if self.partition not in get_args(Partition):
            raise SpecError(f"bundle.partition: must be one of {get_args(Partition)}, not {self.partition!r}")
        if not 1 <= len(self.queues) <= self.limits.queues:
            raise SpecError(f"bundle.queues: must be 1 to {self.limits.queues} queues, not {len(self.queues)}")
        for name in ("objectives", "units"):
            if set(getattr(self, name)) != set(OBJECTIVES):
                raise SpecError(f"bundle.{name}: must have exactly the keys {', '.join(OBJECTIVES)}")
        for name in OBJECTIVES:
            if not 0 <= self.objectives[name] < math.inf:
                raise SpecError(f"bundle.objectives.{name}: must be a finite number of at least 0")
            if not 0 < self.units[name] < math.inf:
                raise SpecError(f"bundle.units.{name}: must be a finite number above 0")
        self._check_learnt()

    def _check_learnt(self) -> None:
        """Check shares and valued objectives. Raises `SpecError` naming the key."""
        counted = set(_LEARNT_BY.values())
        if self.shares is not None and set(self.shares) != counted:
            raise SpecError(f"bundle.shares: must have exactly the keys {', '.join(sorted(counted))}")
        for name, share in (self.shares or {}).items():
            if not 0 <= share <= 1:
                raise SpecError(f"bundle.shares.{name}: must be within 0..1, not {share:g}")
        if not self.valued or [name for name in OBJECTIVES if name in self.valued] != list(self.valued):
            raise SpecError(
                f"bundle.valued: must be some of {', '.join(OBJECTIVES)}, each once and in that order, "
                f"not {list(self.valued)}"
            )
        for name in self.not_valued(self.objectives):
            raise SpecError(
                f"bundle.objectives.{name}: must be 0, since the model values {' and '.join(self.valued)} only"
            )

    def not_valued(self, weights: Mapping[str, float]) -> list[str]:
        """List the weighted objectives that the model has not learnt to value."""
        return [name for name in OBJECTIVES if weights[name] > 0 and name not in self.valued]

    def bypassed(self, weights: Mapping[str, float]) -> bool:
        """Tell whether no weighted objective (there must be one) keeps a correction: the sort decides."""
        shares = self.shares
        return shares is not None and all(shares[_LEARNT_BY[o]] == 0 for o in OBJECTIVES if weights[o] > 0)

    @property
    def fixed_objectives(self) -> bool:
        """Tell whether the graph knows one mix of objectives only, and so takes no weights."""
        return all(tensor.name != "objective_weights" for tensor in self.inputs)

    @property
    def any_slots(self) -> bool:
        """Tell whether the graph takes any number of slots: empty ones are not encoded."""
        return any(isinstance(size, str) for t in self.inputs if t.name == "valid" for size in t.shape[1:])

    def places(self, queues: int) -> int:
        """Count each queue's places: the graph's own, or a share of its free slots."""
        return self.limits.slots // queues if self.any_slots else self.limits.queue_length

    def to_json(self) -> dict[str, Any]:
        """Write plain JSON types, with the format number and the spec's fingerprint."""
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "family": self.family,
            "fingerprint": self.spec.fingerprint,
            "limits": dataclasses.asdict(self.limits),
            "queues": [dataclasses.asdict(q) for q in self.queues],
            "partition": self.partition,
            "objectives": dict(self.objectives),
            "units": dict(self.units),
            "diversity": dataclasses.asdict(self.diversity),
            "fallback": self.fallback,
            "inputs": tensors_to_json(self.inputs),
            "outputs": tensors_to_json(self.outputs),
            "files": dict(self.files),
            "provenance": dict(self.provenance),
            **({} if self.shares is None else {"shares": dict(self.shares)}),
            "valued": list(self.valued),
            "verdict": self.verdict.to_json(),
            **({} if self.ruled is None else {"ruled": self.ruled.to_json()}),
            "spec": self.spec.to_json(),
        }

    @classmethod
    def from_json(cls, data: object) -> Manifest:
        """Read `to_json`'s form. Raises `SpecError` naming the wrong key or a fingerprint that differs."""
        table = as_mapping(data, "bundle")
        known = {f.name for f in dataclasses.fields(cls)} | {"format", "fingerprint"}
        check_keys(table, known, "bundle", _OPTIONAL)
        if table["format"] != FORMAT:
            raise SpecError(f"bundle.format: this version reads format {FORMAT}, not {table['format']!r}")
        spec = FeatureSpec.from_json(table["spec"])
        if table["fingerprint"] != spec.fingerprint:
            raise SpecError(
                f"bundle.fingerprint: is {table['fingerprint']!r}, but the spec in it has {spec.fingerprint!r}"
            )
        return cls(
            name=text(table, "name"),
            version=text(table, "version"),
            family=cast(Family, text(table, "family")),
            spec=spec,
            limits=record(Limits, table["limits"], "bundle.limits"),
            queues=tuple(record(QueueSpec, q, f"bundle.queues[{i}]") for i, q in enumerate(array(table, "queues"))),
            partition=cast(Partition, text(table, "partition")),
            objectives=_numbers(table, "objectives"),
            units=_numbers(table, "units"),
            diversity=record(DiversityDefaults, table["diversity"], "bundle.diversity"),
            fallback=text(table, "fallback"),
            inputs=tensors(table, "inputs"),
            outputs=tensors(table, "outputs"),
            files=as_mapping(table["files"], "bundle.files"),
            provenance=as_mapping(table["provenance"], "bundle.provenance"),
            shares=_numbers(table, "shares") if "shares" in table else None,
            valued=scalar(table["valued"], "tuple[str, ...]", "bundle.valued") if "valued" in table else OBJECTIVES,
            verdict=Verdict.from_json(table["verdict"], "bundle.verdict") if "verdict" in table else UNMEASURED,
            ruled=RuledGraph.from_json(table["ruled"], "bundle.ruled") if "ruled" in table else None,
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read ``folder/bundle.json``. Raises `SpecError` if it is missing, no JSON, or malformed."""
        path = folder / MANIFEST_FILE
        try:
            return cls.from_json(json.loads(path.read_text("utf-8")))
        except OSError as error:
            raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            if isinstance(error, SpecError):
                raise SpecError(f"{path}: {error}") from error
            raise SpecError(f"{path}: is not valid JSON: {error}") from error


def same_mix(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    """Tell whether two tables of weights are proportional; neither may be all 0."""
    total_a, total_b = (sum(weights[name] for name in OBJECTIVES) for weights in (a, b))
    return all(math.isclose(a[o] / total_a, b[o] / total_b, abs_tol=_SAME_SHARE) for o in OBJECTIVES)


def _numbers(table: Mapping[str, Any], key: str) -> dict[str, float]:
    values = as_mapping(table[key], f"bundle.{key}")
    return {name: scalar(value, "float", f"bundle.{key}.{name}") for name, value in values.items()}
