"""Train evaluator and judges, and let each value random lists, permuted sets and all lists.

The values of the comparison lists are computed once and shared by all planners. They are written in shards, so that an
interruption costs one shard.

Axis letters: R requests, K comparison lists, S sets, P permutations, L positions, M objective mixes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from math import perm
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from models.contract.arrays import Floats32, Ints
from models.contract.spec import OBJECTIVES
from models.data.batches import ListArrays
from models.data.reading.stores import source_digest
from models.evaluation.degre import workspace
from models.evaluation.degre.hit_rate import permuted_sets, random_lists
from models.evaluation.degre.judges import EVALUATOR, MIXED, mix_values
from models.evaluation.degre.workspace import DATA, Workspace, chunks
from models.evaluation.steps import ExperimentStep, read_marker
from models.judging.gate import HeldOut, choose_shares
from models.judging.judge import mixes
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import HeadKind, InputBlock
from models.planners.search.exhaustive import all_lists
from models.training.loop import STATE_FILE
from models.training.value import CHECKPOINT_FILE
from models.training.value_fit import Fitted, Setup, settle

COMPARISON_SEED: Final = 14
MOST_LISTS: Final = 1_000_000
"""Requests with more ordered lists than this are not searched exhaustively."""

_SHARD: Final = 32
ORDER_FILE: Final = "orders.npy"


@dataclasses.dataclass(frozen=True, slots=True)
class ValueModel:
    """Describe a value model to train: its architecture, its half of the lists, its seed."""

    name: str
    half: int
    seed: int
    input_block: InputBlock = "fields"
    head: HeadKind = "hazard"


VALUE_MODELS: Final = {
    model.name: model
    for model in (
        ValueModel(EVALUATOR, half=0, seed=0),
        ValueModel("primary", half=1, seed=101),
        ValueModel("sort", half=1, seed=102, input_block="concat"),
        ValueModel("ensemble-fields", half=1, seed=103),
        ValueModel("ensemble-concat", half=1, seed=104, input_block="concat"),
        ValueModel("evaluator-concat", half=0, seed=0, input_block="concat"),
        ValueModel("evaluator-papers", half=0, seed=0, head="independent"),
        ValueModel("evaluator-concat-papers", half=0, seed=0, input_block="concat", head="independent"),
    )
}


def data_step(space: Workspace) -> ExperimentStep:
    """Make the step that encodes the list file."""

    def run(folder: Path) -> Mapping[str, Any]:
        workspace.prepare_data(space.source, folder, space.profile.length)
        return {"lists": {name: len(slates) for name, slates in space.data.slates.items()}}

    options = {"data": space.source.name, "sha256": source_digest(space.source), **space.sizes("length")}
    return ExperimentStep(DATA, "data", options, run)


def train_step(space: Workspace, name: str, group: str) -> ExperimentStep:
    """Make the step that trains one value model on its half of the lists."""
    model = VALUE_MODELS[name]
    config = space.profile.value_config(model.input_block, model.head)
    options = space.profile.value_options(model.seed)

    def run(folder: Path) -> Mapping[str, Any]:
        train, valid = (workspace.exposed_lists(space.data.half(split, model.half)) for split in ("train", "valid"))
        own = dataclasses.replace(config, cosines=config.context != "none" and train.has_embeddings)
        setup = Setup(space.data.spec, own, options, space.device)
        fitted = setup.fit(train, valid, folder, resume=(folder / STATE_FILE).exists())
        kept = _kept(space, fitted, train, valid)
        units = dict(zip(OBJECTIVES, space.data.units, strict=True))
        save_checkpoint(folder / CHECKPOINT_FILE, Checkpoint(fitted.model.cpu().eval(), units, {"family": name}))
        best = {"best_epoch": fitted.progress.best_epoch, "valid_loss": fitted.progress.best_loss}
        return {"lists": len(train), **best, **kept}

    noted = {**dataclasses.asdict(model), **dataclasses.asdict(config), **dataclasses.asdict(options)}
    noted |= space.sizes("gated") if model.head == "hazard" else {}
    return ExperimentStep(workspace.value_step(name), group, noted, run, needs=(DATA,))


def _kept(space: Workspace, fitted: Fitted, train: ListArrays, valid: ListArrays) -> dict[str, Any]:
    """Keep the proven part of a hazard model's correction, or all of it.

    Return notes of the shares that are proven.
    """
    if fitted.model.config.head != "hazard":
        return {}
    worths, held_out = mixes(fitted.model, space.data.units, MIXED), HeldOut.of(fitted.model, fitted.start, valid)
    gate = choose_shares([held_out], worths, device=space.device)
    if not space.profile.gated:
        held_out.set([1.0] * len(gate.shares))
    settle(fitted.model, train, fitted.start)
    return {"proven_shares": list(gate.shares)}


def comparison_values_step(space: Workspace, name: str, group: str) -> ExperimentStep:
    """Make the step that values random lists [M, R, K] and sets [M, R', S, P] of requests."""
    sizes, seed = space.profile, COMPARISON_SEED

    def run(folder: Path) -> Mapping[str, Any]:
        valuer, valid = space.valuer(name), space.candidates

        def compare(rows: Ints) -> Floats32:
            drawn = random_lists(valid[rows], rows.tolist(), sizes.length, sizes.random_lists, seed=seed)
            # Lists that begin alike stand together: valuers read common prefixes once.
            together = np.stack([lists[np.lexsort(lists.T[::-1])] for lists in drawn])
            return mix_values(valuer.outcomes(rows, together), space.mixes, space.data.units)

        def permute(rows: Ints) -> Floats32:
            counts = {"sets": sizes.order_sets, "orders": sizes.order_permutations}
            sets = permuted_sets(valid[rows], rows.tolist(), sizes.length, **counts, seed=seed)
            outcomes = valuer.outcomes(rows, sets.reshape(len(rows), -1, sizes.length))
            return mix_values(outcomes, space.mixes, space.data.units).reshape(-1, *sets.shape[:3])

        # On a CPU the activations of one request's lists already fill the caches.
        together = 1 if space.device.type == "cpu" else _SHARD
        _in_shards(folder, len(space.test), compare, f"random lists, {name}", together)
        parts = [permute(rows) for rows in chunks(min(sizes.order_requests, len(space.test)), _SHARD)]
        workspace.save_array(folder / ORDER_FILE, np.concatenate(parts, axis=1))
        return {"requests": len(space.test), "lists": sizes.random_lists}

    names = ("test_requests", "random_lists", "order_requests", "order_sets", "order_permutations")
    options = {**space.sizes(*names), "mixes": sizes.objectives}
    return ExperimentStep(workspace.comparison_step(name), group, options, run, needs=workspace.needed_by(name))


def exhaustive_values_step(space: Workspace, name: str, group: str) -> ExperimentStep:
    """Make the step that values all lists of some requests [M, lists], with the best [M, L]."""
    sizes = space.profile

    def run(folder: Path) -> Mapping[str, Any]:
        candidates = space.candidates.sum(axis=1)
        wanted = min(sizes.exhaustive_requests, len(space.test))
        if perm(int(candidates[:wanted].max(initial=0)), sizes.length) > MOST_LISTS:
            return {"requests": 0, "why": f"a request has more than {MOST_LISTS} ordered lists"}
        valuer = space.valuer(name)
        for row in tqdm(range(wanted), desc=f"all lists, {name}", unit="request", disable=None):
            path = folder / f"{row}.npz"
            if path.exists():
                continue
            values = mix_values(valuer.every_outcome(row), space.mixes, space.data.units)
            best = all_lists(int(candidates[row]), sizes.length)[values.argmax(axis=1)]
            workspace.save_arrays(path, values=np.sort(values, axis=1), best=best)
        return {"requests": wanted}

    options = {**space.sizes("exhaustive_requests"), "mixes": sizes.objectives}
    return ExperimentStep(workspace.exhaustive_step(name), group, options, run, needs=workspace.needed_by(name))


def load_comparison(root: Path, name: str) -> Floats32:
    """Load the values [M, R, K] of the random lists under a valuer whose step is done, unsorted."""
    parts = sorted((root / workspace.comparison_step(name)).glob("part-*.npy"))
    return np.concatenate([np.load(path) for path in parts], axis=1)


def load_orders(root: Path, name: str) -> Floats32:
    """Load the values [M, R', S, P] of permuted sets under a valuer whose step is done."""
    values: Floats32 = np.load(root / workspace.comparison_step(name) / ORDER_FILE)
    return values


def load_exhaustive(root: Path, name: str) -> Iterator[tuple[Floats32, Ints]]:
    """Load sorted values [M, lists] and best lists [M, L], request by request.

    Raises `ValueError` if the step is not done.
    """
    marker = read_marker(root, workspace.exhaustive_step(name))
    if marker is None:
        raise ValueError(f"{root / workspace.exhaustive_step(name)}: all lists must be valued first")
    for row in range(int(marker["notes"]["requests"])):
        with np.load(root / workspace.exhaustive_step(name) / f"{row}.npz") as archive:
            yield archive["values"], archive["best"]


def _in_shards(folder: Path, requests: int, values: Callable[[Ints], Floats32], title: str, together: int) -> None:
    with tqdm(total=requests, desc=title, unit="request", disable=None) as bar:
        for i, rows in enumerate(chunks(requests, _SHARD)):
            path = folder / f"part-{i:05d}.npy"
            if not path.exists():
                parts = [values(rows[some]) for some in chunks(len(rows), together)]
                workspace.save_array(path, np.concatenate(parts, axis=1))
            bar.update(len(rows))
