"""Proof that a generation graph gives the lists that the PyTorch reference of its family gives.

Rule: two orders are the same up to the first position where they differ, and a difference there is excused only if the
reference preferred its choice by less than `TIE`; such near ties are counted. Where orders agree, values must too, to
`TOLERANCE` relative to max(1, |value|), and scores as far as they follow from values held to that; runners-up must be
the same or tie. Anything else is a `ProofError`, and nothing is published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from export.families import Family
from models.manifest import Limits
from models.planners.reference import Step
from models.planners.runtime import Feeds

Planner = Callable[[Feeds], Mapping[str, NDArray[Any]]]
"""Answers a batch of one; a `GraphPlanner`, or a stand-in that knows what one said elsewhere."""

TIE: Final = 1e-5
TOLERANCE: Final = 1e-4


class ProofError(ValueError):
    """The graph and the reference disagree; the message names request, position and quantity."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was compared. `near_ties` requests were compared only up to a near tie."""

    requests: int
    near_ties: int
    largest_error: float

    @property
    def summary(self) -> str:
        """One line for whoever exports."""
        return f"proved on {self.requests} requests, {self.near_ties} near ties, largest error {self.largest_error:.1e}"

    def to_json(self) -> dict[str, Any]:
        """For the bundle's provenance."""
        return {
            "requests": self.requests,
            "near_ties": self.near_ties,
            "largest_error": self.largest_error,
            "tie": TIE,
            "tolerance": TOLERANCE,
        }


def prove(planner: Planner, family: Family, limits: Limits, *, requests: int = 1000, seed: int = 0) -> Proof:
    """Compare graph and reference on random and edge requests. Raises `ProofError` at the first disagreement."""
    near_ties, largest = 0, 0.0
    reference = family.reference(limits)
    examples = family.requests(limits, requests, seed)
    for i, request in enumerate(tqdm(examples, total=requests, desc="proof", unit="request", disable=None)):
        try:
            tied, error = compare(planner(request), reference(request), limits.list_length)
        except ProofError as difference:
            raise ProofError(f"request {i} of seed {seed}: {difference}") from None
        near_ties += tied
        largest = max(largest, error)
    return Proof(requests, near_ties, largest)


def compare(outputs: Mapping[str, NDArray[Any]], steps: Sequence[Step], length: int) -> tuple[bool, float]:
    """Hold a graph's outputs (a batch of one) to the reference's steps.

    Returns whether the comparison ended at a near tie, and the largest error seen. Raises `ProofError`.
    """
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
    return False, largest


def _errors(outputs: Mapping[str, NDArray[Any]], t: int, step: Step) -> float:
    """The largest relative error at a position. Raises `ProofError` if it is past the tolerance."""
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


def _check_runner_up(found: int, t: int, step: Step) -> None:
    """Raise `ProofError` unless the runner-up is the reference's, or ties with it."""
    if found == step.runner_up:
        return
    known = step.runner_up >= 0 and found in step.scores and found != step.slot
    if not known or step.scores[step.runner_up] - step.scores[found] >= TIE:
        raise ProofError(f"position {t}: runner_up is {found}, the reference says {step.runner_up}")
