"""Encode an experiment's list file, name the results of its steps, and read shared ones.

The file is encoded once and kept as arrays: reading the records takes about a minute per hundred thousand, loading the
arrays a second. Half 0 of the training lists trains the evaluator and everything that learns from it; half 1 trains the
judges.

Axis letters: n requests, R test requests, N candidates.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract.arrays import Bools, Floats, Ints
from models.contract.spec import OBJECTIVES, FeatureSpec
from models.data.batches import ListArrays
from models.data.fit_spec import SpecFitter
from models.data.list_file import read_lists, read_metadata, read_splits
from models.data.records import ListRecord, Split
from models.data.slates import SlateArrays, encode_slates
from models.datasets.splits import bucket
from models.evaluation.degre.judges import EVALUATOR, JUDGES, MIXED, TRUTH, Judge, ModelValuer, TruthValuer, Valuer
from models.evaluation.degre.profile import Profile
from models.files import whole_file, write_json
from models.judging.value_report import mean_per_slot
from models.nets.checkpoint import Checkpoint, load_checkpoint
from models.nets.value import ListValueModel
from models.planners.objective import objective_terms
from models.planners.prepare import formula_scores
from models.planners.worth import CLICKS_ONLY, Triple, triple_of
from models.training.value import CHECKPOINT_FILE

DATA: Final = "data"
LISTS_FILE: Final = "lists.npy"
_SAMPLING_SEED: Final = 20
_RESOLUTION: Final = 2**62
_META_FILE: Final = "meta.json"


@dataclass(frozen=True)
class DegreData:
    """Hold the slates of each split with halves, prior values and units.

    `halves` int64 [n] per split is 0 or 1; `prior` [n, N, 3] holds the item-level estimates of (clicks, conversions,
    GMV) of the test requests from their prior scores; `units` are s_o; `metadata` is the list file's.
    """

    spec: FeatureSpec
    slates: Mapping[Split, SlateArrays]
    halves: Mapping[Split, Ints]
    prior: Floats
    units: Triple
    metadata: Mapping[str, Any]

    @property
    def counts_purchases(self) -> bool:
        """Tell whether the log records purchases, so that objectives other than clicks can be learnt."""
        return bool(self.slates["train"].observed[:, 1].any())

    def half(self, split: Split, half: int) -> SlateArrays:
        """Return the requests of one half of a split."""
        return self.slates[split].take(np.flatnonzero(self.halves[split] == half))


def prepare_data(data: Path, folder: Path, length: int) -> None:
    """Encode a list file into `folder`.

    Raises `ValueError` if a split is missing, requests are too small, or no list to learn from shows an item.
    """
    splits, fitter = _read(data, length), SpecFitter()
    fitter.add_records(splits["train"])
    spec = fitter.fit_to_shown(data)
    parts = {name: encode_slates(records, spec, length) for name, records in splits.items()}
    units, _ = mean_per_slot(exposed_lists(parts["train"]))
    for name, slates in parts.items():
        groups = [_user(r) if name == "train" else "" for r in splits[name]]
        half, ids = split_halves(slates.request_ids, groups), np.array(slates.request_ids)
        save_arrays(folder / f"{name}.npz", **slates.arrays(), half=half, request_ids=ids)
    save_array(folder / "prior.npy", prior_values(splits["test"], spec, parts["test"].candidates))
    meta = {"spec": spec.to_json(), "units": units, "metadata": read_metadata(data)}
    write_json(folder / _META_FILE, meta)


def load_data(folder: Path) -> DegreData:
    """Load the arrays that `prepare_data` wrote."""
    meta = json.loads((folder / _META_FILE).read_text("utf-8"))
    parts = {name: _load(folder / f"{name}.npz") for name in get_args(Split)}
    return DegreData(
        spec=FeatureSpec.from_json(meta["spec"]),
        slates={name: slates for name, (slates, _) in parts.items()},
        halves={name: half for name, (_, half) in parts.items()},
        prior=np.load(folder / "prior.npy"),
        units=triple_of(meta["units"]),
        metadata=meta["metadata"],
    )


def exposed_lists(slates: SlateArrays) -> ListArrays:
    """Return the shown lists as value models train on them, like those of `encode_lists`."""
    shown = slates.exposed >= 0
    features = {}
    for name, values in slates.features.items():
        if name == "valid":
            continue
        if name.startswith("user_"):
            features[name] = values
            continue
        taken = values[np.arange(len(values))[:, None], slates.exposed.clip(min=0)]
        features[name] = np.where(shown.reshape(*shown.shape, *[1] * (values.ndim - 2)), taken, 0).astype(values.dtype)
    return ListArrays(features, slates.labels, slates.observed, slates.lengths)


def split_halves(request_ids: Sequence[str], groups: Sequence[str]) -> Ints:
    """Give each request half 0 or 1, alternating within its group by the ids' hashes.

    It depends on ids and groups only, not on the order of the file. Which half a group starts with is hashed too, so
    groups of one request do not all fall on the same side.
    """
    members: defaultdict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    half = np.zeros(len(request_ids), np.int64)
    for group, rows in members.items():
        rows.sort(key=lambda row: (bucket(request_ids[row], _RESOLUTION, seed=0, purpose="half"), request_ids[row]))
        start = bucket(group, 2, seed=0, purpose="first half")
        half[rows] = (np.arange(len(rows)) + start) % 2
    return half


def prior_values(records: Sequence[ListRecord], spec: FeatureSpec, width: int) -> Floats:
    """Estimate (clicks, conversions, GMV) of items from prior scores, [n, width, 3]; 0 where scores lack.

    Raises `ValueError` if the data has no score ``ctr``.
    """
    terms = objective_terms(spec)
    columns = [OBJECTIVES.index(name) for name in terms]
    values = np.zeros((len(records), width, len(OBJECTIVES)))
    for row, record in zip(values, records, strict=True):
        priors = formula_scores(record, list(terms.values()), CLICKS_ONLY, spec)
        row[: len(record.candidates), columns] = np.stack(priors, axis=1)
    return values


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as ``.npy``, whole or not at all."""
    with whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, array)


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write named arrays as ``.npz``, whole or not at all."""
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read(data: Path, length: int) -> dict[Split, Sequence[ListRecord]]:
    splits = read_splits(data)
    for name, records in splits.items():
        if not records:
            raise ValueError(f"{data}: has no lists of split {name!r}")
        for record in records:
            if len(record.candidates) < length:
                raise ValueError(
                    f"{data}: list {record.request_id!r} has {len(record.candidates)} candidates, "
                    f"fewer than the {length} positions to fill"
                )
    return splits


def _user(record: ListRecord) -> str:
    # Logs have no user key of their own; what is said of a user tells users apart well enough to balance the halves.
    return json.dumps(dict(record.user), sort_keys=True)


def _load(path: Path) -> tuple[SlateArrays, Ints]:
    with np.load(path) as archive:
        arrays = dict(archive)
    ids, half = tuple(arrays.pop("request_ids").tolist()), arrays.pop("half")
    own = {name: arrays.pop(name) for name in ("exposed", "lengths", "labels", "observed")}
    return SlateArrays(arrays, request_ids=ids, **own), half


@dataclass(frozen=True)
class Workspace:
    """Hold an experiment's folder, list file, sizes and device."""

    root: Path
    source: Path
    profile: Profile
    device: torch.device

    def sizes(self, *names: str) -> dict[str, Any]:
        """Return some sizes of the profile by name, for the options of a step."""
        return {name: getattr(self.profile, name) for name in names}

    @cached_property
    def data(self) -> DegreData:
        """Load the encoded list file; the step `DATA` must be done."""
        return load_data(self.root / DATA)

    @cached_property
    def test(self) -> SlateArrays:
        """Return the test requests that planners plan for."""
        return self.data.slates["test"].take(self.test_rows)

    @cached_property
    def every_test(self) -> SlateArrays:
        """Return the test requests that ablations are valued on: those of `test` first."""
        rows = max(self.profile.test_requests, self.profile.ablation_test_requests)
        tests = self.data.slates["test"]
        return tests.take(_sample(len(tests), rows))

    @cached_property
    def test_records(self) -> list[ListRecord]:
        """Read the records of `test`, for planners that prepare requests as a service does."""
        found = {record.request_id: record for record in read_lists(self.source, "test")}
        return [found[request_id] for request_id in self.test.request_ids]

    @property
    def candidates(self) -> Bools:
        """Tell candidates of the test requests from padding, bool [R, N]."""
        valid: Bools = self.test.features["valid"].astype(np.bool_)
        return valid

    @cached_property
    def test_rows(self) -> Ints:
        """Draw the rows of `test` among all test requests."""
        return _sample(len(self.data.slates["test"]), self.profile.test_requests)

    def slates(self, count: int) -> SlateArrays:
        """Draw up to `count` training requests of the evaluator's half; more extend fewer."""
        half = self.data.half("train", 0)
        return half.take(_sample(len(half), count))

    @cached_property
    def valid(self) -> SlateArrays:
        """Draw validation requests of the evaluator's half, on which generators stop early."""
        half = self.data.half("valid", 0)
        return half.take(_sample(len(half), self.profile.valid_slates))

    @cached_property
    def mixes(self) -> tuple[Triple, ...]:
        """Return the objective mixes; the first is that of the main tables."""
        if self.profile.objectives:
            return self.profile.objectives
        return (CLICKS_ONLY, MIXED) if self.data.counts_purchases and self.simulated else (CLICKS_ONLY,)

    @property
    def simulated(self) -> bool:
        """Tell whether the truth is known."""
        return bool(self.data.metadata.get("source") == "simulator")

    @property
    def judges(self) -> tuple[Judge, ...]:
        """Return the judges that this data allows."""
        return tuple(judge for judge in JUDGES if self.simulated or TRUTH not in judge.members)

    def checkpoint(self, name: str) -> Checkpoint:
        """Load a trained value model by its name."""
        return load_checkpoint(self.root / value_step(name) / CHECKPOINT_FILE, self.device)

    @cached_property
    def evaluator(self) -> ListValueModel:
        """Load the lookahead evaluator."""
        return self.checkpoint(EVALUATOR).model

    def valuer(self, name: str) -> Valuer:
        """Make a valuer of `every_test` request from a value model, or from the truth."""
        tests = self.every_test
        if name == TRUTH:
            return TruthValuer(self.data.metadata, tests.request_ids, self.profile.length)
        return ModelValuer(self.checkpoint(name).model, tests, self.profile.length, self.device)


def value_step(name: str) -> str:
    """Name the step that trains a value model."""
    return f"value/{name}"


def needed_by(valuer: str) -> tuple[str, ...]:
    """Name the steps that a valuer needs; the truth needs no training."""
    return (DATA,) if valuer == TRUTH else (value_step(valuer),)


def comparison_step(name: str) -> str:
    """Name the step that values random lists under a valuer."""
    return f"comparison/{name}"


def exhaustive_step(name: str) -> str:
    """Name the step that values all lists of some requests under a valuer."""
    return f"exhaustive/{name}"


def planner_step(planner: str, mix: int, seed: int) -> str:
    """Name the step that makes a planner's lists for one objective mix and seed."""
    return f"planners/{planner}/mix-{mix}/seed-{seed}"


def chunks(count: int, size: int) -> Iterator[Ints]:
    """Cut 0 … count − 1 into runs of at most `size`."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def _sample(count: int, most: int) -> Ints:
    order = np.random.default_rng([_SAMPLING_SEED, count]).permutation(count)
    return order[:most]
