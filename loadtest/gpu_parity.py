"""Holds recorded answers of an engine to the CPU: float32 list by list, float16 by the list value that it loses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.proof.parity import CpuAnswers, compare_answers
from export.proof.verify import ProofError
from export.proof.verify_value import prove_value
from loadtest.gpu_plan import FP16, Contestant, Plan
from models.contract.features import Arrays
from models.contract.manifest import Manifest

RUNS: Final = ("single", "mixed")
"""The same requests one by one, and in batches of several sizes."""

MOST_LOST: Final = 1.0
"""Percent of list value that float16 may lose, as at export."""


def hold_to_cpu(plan: Plan, contestant: Contestant) -> dict[str, dict[str, Any]]:
    """For each of `RUNS` what was found and whether it ``holds``. Raises `OSError` if there are no answers."""
    manifest = Manifest.read(plan.folder(contestant.bundle))
    requests = _requests(plan, manifest, contestant.bundle)
    found = {}
    with np.load(plan.file("answers", contestant, "npz"), allow_pickle=False) as file:
        recorded = {name: file[name] for name in file.files}
    for run in RUNS:
        answers = {name.removeprefix(f"{run}."): a for name, a in recorded.items() if name.startswith(f"{run}.")}
        cpu = CpuAnswers(plan.folder(contestant.bundle), length=manifest.limits.list_length)
        found[run] = compare_answers(cpu, requests, answers).to_json()
        if contestant.bundle == FP16:  # Orders may differ there; what they lose is what counts.
            found[run] |= _lost_value(plan, manifest, answers)
    return found


def _requests(plan: Plan, manifest: Manifest, bundle: str) -> list[Arrays]:
    with np.load(plan.requests_file(bundle), allow_pickle=False) as file:
        batch = {tensor.name: file[tensor.name] for tensor in manifest.inputs}
    return [{name: array[r : r + 1] for name, array in batch.items()} for r in range(len(batch["valid"]))]


def _lost_value(plan: Plan, manifest: Manifest, answers: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """`export.proof.verify_value`'s proof of answers that were given elsewhere."""
    from export.bench.bundle import BenchModel, bench_family

    family = bench_family(BenchModel(dim=plan.dim, layers=plan.layers, seed=plan.seed))
    try:
        proof = prove_value(
            _Replayed(answers), family, manifest.limits, most_lost=MOST_LOST, requests=plan.requests, seed=plan.seed
        )
    except ProofError as error:
        return {"holds": False, "why_not": str(error)}
    return {"holds": True, **proof.to_json()}


class _Replayed:
    """Gives recorded answers in their order, whatever is asked."""

    def __init__(self, answers: Mapping[str, NDArray[Any]]) -> None:
        self._rows: Iterator[dict[str, NDArray[Any]]] = iter(
            [{name: array[r : r + 1] for name, array in answers.items()} for r in range(len(answers["order"]))]
        )

    def __call__(self, _: object) -> dict[str, NDArray[Any]]:
        return next(self._rows)
