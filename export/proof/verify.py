"""Prove that a generation graph gives the lists of its family's PyTorch reference.

Rule: two orders are the same up to the first position where they differ, and a difference there is excused only if the
reference preferred its choice by less than `TIE`; such near ties are counted. Where orders agree, values must too, to
`TOLERANCE` relative to max(1, |value|), and scores as far as they follow from values held to that; runners-up must be
the same or tie. Where the sort's list is valued too, the other of the two is excused only if their totals are within
`TIE`, or a near tie in the plan left it open which plan there was to compare with; the list that the graph kept is then
held to the reference's. A beam's list may be another only if the reference finds it too, and values it the same, when
leads below `TIE` are ignored wherever lists are cut. Anything else is a `ProofError`, and nothing is published.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from export.families.family import ModelFamily
from export.proof.requests import random_requests
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.planners.references.sort_gen import PlanStep
from models.planners.references.sort_list import ExpectedAnswer
from models.planners.runtime import Feeds

T = TypeVar("T")
GraphRunner = Callable[[Feeds], Mapping[str, NDArray[Any]]]
"""Answers a batch of one; a `GraphPlanner`, or a stand-in that knows what one said elsewhere."""

TIE: Final = 1e-5
TOLERANCE: Final = 1e-4


class ProofError(ValueError):
    """Report a disagreement of graph and reference; the message names request, position and quantity."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Count compared requests; `near_ties` of them were compared only up to a near tie."""

    requests: int
    near_ties: int
    largest_error: float

    @property
    def summary(self) -> str:
        """Write one line on the proof, which does not say that the lists are good."""
        return (
            f"proved that the graph gives the reference's lists on {self.requests} requests, "
            f"{self.near_ties} near ties, largest error {self.largest_error:.1e}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the figures for the bundle's provenance."""
        return {**asdict(self), "tie": TIE, "tolerance": TOLERANCE}


def prove(
    planner: GraphRunner, family: ModelFamily, limits: Limits, *, requests: int = 1000, seed: int = 0, groups: int = 0
) -> Proof:
    """Compare graph and reference on random and edge requests.

    With `groups` the graph is the ruled one, and requests have rules. Raises `ProofError` where they first disagree.
    """
    reference = family.reference(limits)

    def check(request: Arrays) -> tuple[bool, float]:
        return compare(planner(request), reference(request), limits.list_length)

    tied, errors = zip(*on_requests(check, family, limits, requests, seed, groups), strict=True)
    return Proof(requests, sum(tied), max(errors))


def on_requests(
    check: Callable[[Arrays], T], family: ModelFamily, limits: Limits, requests: int, seed: int, groups: int
) -> list[T]:
    """Check random and edge requests one by one; a `ProofError` names the request."""
    found = []
    examples = random_requests(family.spec, limits, requests, seed, any_slots=family.any_slots, groups=groups)
    what = "proof under rules" if groups else "proof"
    for i, request in enumerate(tqdm(examples, total=requests, desc=what, unit="request", disable=None)):
        try:
            found.append(check(request))
        except ProofError as difference:
            raise ProofError(f"request {i} of seed {seed}: {difference}") from None
    return found


def compare(outputs: Mapping[str, NDArray[Any]], answer: ExpectedAnswer, length: int) -> tuple[bool, float]:
    """Hold a graph's outputs (a batch of one) to the reference's answer.

    Returns whether there was a near tie, and the largest error seen. Raises `ProofError`.
    """
    steps, tied = _kept(outputs, answer)
    if steps is answer.plan and answer.cut < TIE:
        steps, tied = _among_ties(outputs, answer, tied)
    order = outputs["order"][0].tolist()
    largest = 0.0
    for t, step in enumerate(steps):
        if order[t] != step.slot:
            if step.margin < TIE:
                return True, largest
            raise ProofError(
                f"position {t}: the graph chose slot {order[t]}, the reference {step.slot} by {step.margin:.2e}"
            )
        largest = max(largest, _errors(outputs, t, step))
    if order[len(steps) :] != [-1] * (length - len(steps)):
        raise ProofError(f"position {len(steps)}: nothing is left, but the graph chose slot {order[len(steps)]}")
    return tied, largest


def _kept(outputs: Mapping[str, NDArray[Any]], answer: ExpectedAnswer) -> tuple[list[PlanStep], bool]:
    """Return the reference's steps of the kept list, and tell if after a near tie."""
    kept_sort = "kept_sort" in outputs and bool(outputs["kept_sort"][0])
    if kept_sort == answer.kept_sort:
        return answer.steps, False
    lead = math.inf if answer.same else abs(answer.lead)
    nearest = min([lead, answer.cut, *(step.margin for step in answer.plan)])
    if not nearest < TIE or answer.listed is None:
        lists = ("a plan", "the sort's list")
        raise ProofError(
            f"the graph kept {lists[kept_sort]}, the reference {lists[not kept_sort]}, which leads by {answer.lead:.2e}"
        )
    return answer.listed if kept_sort else answer.plan, True


def _among_ties(outputs: Mapping[str, NDArray[Any]], answer: ExpectedAnswer, tied: bool) -> tuple[list[PlanStep], bool]:
    """Choose a beam's list: another's is right if the reference finds it within `TIE`."""
    found = [slot for slot in outputs["order"][0].tolist() if slot >= 0]
    if answer.towards is None or found == [step.slot for step in answer.plan]:
        return answer.plan, tied
    other = answer.towards(found, TIE)
    return (answer.plan, tied) if other is None else (other, True)


def _errors(outputs: Mapping[str, NDArray[Any]], t: int, step: PlanStep) -> float:
    """Measure the largest relative error at a position; past the tolerance raises `ProofError`."""
    pairs: dict[str, Any] = {"value": step.value, "penalty": step.penalty, "score": step.score}
    largest = 0.0
    for name, expected in pairs.items():
        scale = np.maximum(step.sensitivity if name == "score" else 1.0, np.maximum(1.0, np.abs(expected)))
        error = float(np.max(np.abs(outputs[name][0, t] - expected) / scale))
        if not error <= TOLERANCE:  # catches NaN
            raise ProofError(f"position {t}: {name} is {outputs[name][0, t]}, the reference says {expected}")
        largest = max(largest, error)
    _check_runner_up(int(outputs["runner_up"][0, t]), t, step)
    return largest


def _check_runner_up(found: int, t: int, step: PlanStep) -> None:
    """Raise `ProofError` unless the runner-up is the reference's, or ties with it."""
    if found == step.runner_up:
        return
    known = step.runner_up >= 0 and found in step.scores and found != step.slot
    if not known or step.scores[step.runner_up] - step.scores[found] >= TIE:
        raise ProofError(f"position {t}: runner_up is {found}, the reference says {step.runner_up}")
