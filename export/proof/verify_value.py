"""Prove reduced precision by the list value that its lists lose under the exact reference.

A graph in float16 need not give the reference's lists, only lists that are worth as much. Every list is valued by the
family's model in float64, and what the worse ones lose is summed: better ones make up for nothing. Beside that, each
list must be valid, and what the graph says of its own list must be what the exact model says, to `TOLERANCE`. Under
rules a list must keep them all, and may end elsewhere than the reference's, which costs it the value of what it lacks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.families.family import ListWorth, ModelFamily
from export.proof.verify import TIE, GraphRunner, ProofError, on_requests
from models.contract.arrays import Arrays
from models.contract.manifest import LOOSEST_REPLAY, Limits
from models.planners.references.sort_list import ExpectedAnswer
from models.planners.references.step_rules import StepRules

TOLERANCE: Final = 5e-3
"""Largest error of a value, relative to max(1, |value|)."""

_GOLDEN_TOLERANCE: Final = 1e-3
_SLACK: Final = 4.0
"""Golden answers may differ by this many times the largest error seen: other hardware rounds otherwise."""


@dataclass(frozen=True, slots=True)
class ValueProof:
    """Count changed lists and lost value: in percent of all, and of the worst request."""

    requests: int
    changed: int
    lost_percent: float
    worst_percent: float
    most_lost_percent: float
    largest_error: float
    largest_score_error: float

    @property
    def summary(self) -> str:
        """Write one line on the proof, which does not say that the lists are good."""
        return (
            f"proved that the graph's lists lose {self.lost_percent:.4f}% of their value (at most "
            f"{self.most_lost_percent:g}% may be lost) on {self.requests} requests, {self.changed} of which got "
            f"another list; the worst loses {self.worst_percent:.3f}%, largest error {self.largest_error:.1e}"
        )

    @property
    def golden(self) -> dict[str, float]:
        """Return the tolerances of a replay of golden requests."""
        return {
            "tie": min(LOOSEST_REPLAY, max(TIE, _SLACK * self.largest_score_error)),
            "tolerance": min(LOOSEST_REPLAY, max(_GOLDEN_TOLERANCE, _SLACK * self.largest_error)),
        }

    @property
    def replayable(self) -> bool:
        """Tell whether a replay could tell a wrong answer from a rounded one."""
        return 2 * self.largest_score_error <= LOOSEST_REPLAY and self.largest_error <= LOOSEST_REPLAY

    def to_json(self) -> dict[str, Any]:
        """Return the figures for the bundle's provenance."""
        return {**asdict(self), "tolerance": TOLERANCE}


@dataclass(frozen=True, slots=True)
class _ValuedAnswer:
    """Hold one request: whether the list changed, both lists' worth, and errors."""

    changed: bool
    wanted: float
    found: float
    error: float
    score_error: float

    @property
    def lost(self) -> float:
        return max(0.0, self.wanted - self.found)


def prove_value(
    planner: GraphRunner,
    family: ModelFamily,
    limits: Limits,
    *,
    most_lost: float,
    requests: int = 1000,
    seed: int = 0,
    groups: int = 0,
) -> ValueProof:
    """Value the graph's lists beside the reference's, on random and edge requests.

    `groups` as in `prove`. Raises `ProofError` for a list that is not valid, a value past the tolerance, more than
    `most_lost` percent lost, or scores so far off that no service could replay recorded requests.
    """
    reference, valuing = family.reference(limits), family.valuing()

    def check(request: Arrays) -> _ValuedAnswer:
        answer, outputs = reference(request), planner(request)
        found = valuing(request, check_list(outputs, request, len(answer.steps)))
        return _outcome(outputs, answer, found, valuing(request, [step.slot for step in answer.steps]))

    outcomes = on_requests(check, family, limits, requests, seed, groups)
    proof = _proof(outcomes, most_lost)
    if not proof.lost_percent <= most_lost:
        raise ProofError(proof.summary)
    if not proof.replayable:
        raise ProofError(
            f"scores are off by up to {proof.largest_score_error:.1e} and values by {proof.largest_error:.1e}, too "
            "much for a service to replay recorded requests, which "
            f"excuses at most {LOOSEST_REPLAY:g}; this model needs fp32"
        )
    return proof


def check_list(outputs: Mapping[str, NDArray[Any]], request: Arrays, length: int) -> list[int]:
    """Check a graph's list (a batch of one), return its slots; raises `ProofError`.

    It must have the `length` of the reference's, but under rules it must keep them instead.
    """
    order = outputs["order"][0].tolist()
    slots = [int(slot) for slot in itertools.takewhile(lambda slot: slot >= 0, order)]
    rules = StepRules.of(request)
    wanted = length if rules is None else len(slots)
    filled = set(np.flatnonzero(request["valid"][0]).tolist())
    rest = order[len(slots) :]
    if (
        len(slots) != wanted
        or len(set(slots)) != wanted
        or not set(slots) <= filled
        or any(slot != -1 for slot in rest)
    ):
        raise ProofError(f"the list {order} is not {wanted} different candidates and nothing else")
    broken = [t for t, slot in enumerate(slots) if rules is not None and rules.bars(slots[:t], slot)]
    if broken:
        raise ProofError(f"position {broken[0]}: slot {slots[broken[0]]} may not stand there")
    return slots


def _outcome(
    outputs: Mapping[str, NDArray[Any]], answer: ExpectedAnswer, found: ListWorth, wanted: ListWorth
) -> _ValuedAnswer:
    steps = answer.steps
    order = outputs["order"][0].tolist()
    own = len(found.increments)
    same = next((t for t, step in enumerate(steps) if order[t] != step.slot), len(steps))
    changed = same < max(own, len(steps))
    if "kept_sort" in outputs and bool(outputs["kept_sort"][0]) != answer.kept_sort:
        same = 0  # a plan's penalties and the sort's follow other rules where embeddings are missing
    scores = np.array([step.score for step in steps[:same]])
    score_error = np.abs(outputs["score"][0, :same] - scores)
    error = max(
        _largest(np.abs(outputs["value"][0, :own] - found.increments), found.increments),
        _largest(np.abs(outputs["penalty"][0, :same] - [step.penalty for step in steps[:same]]), np.ones(same)),
    )
    if not error <= TOLERANCE:  # catches NaN
        raise ProofError(f"values of the list are off by {error:.1e}, more than {TOLERANCE:g}")
    return _ValuedAnswer(
        changed=changed,
        wanted=wanted.value,
        found=found.value,
        error=max(error, _largest(score_error, scores)),
        score_error=_largest(score_error, np.ones(same)),
    )


def _largest(errors: NDArray[Any], values: NDArray[Any]) -> float:
    return float(np.max(errors / np.maximum(1.0, np.abs(values)), initial=0.0))


def _proof(outcomes: list[_ValuedAnswer], most_lost: float) -> ValueProof:
    total = sum(abs(outcome.wanted) for outcome in outcomes)
    return ValueProof(
        requests=len(outcomes),
        changed=sum(outcome.changed for outcome in outcomes),
        lost_percent=_percent(sum(outcome.lost for outcome in outcomes), total),
        worst_percent=max(_percent(outcome.lost, abs(outcome.wanted)) for outcome in outcomes),
        largest_error=max(outcome.error for outcome in outcomes),
        largest_score_error=max(outcome.score_error for outcome in outcomes),
        most_lost_percent=most_lost,
    )


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole > 0 else 0.0
