"""Do two places give the same lists? A bundle's answers from elsewhere, held to those of its own graph on this CPU.

The rule is `export.verify`'s: orders are the same up to the first position where they differ, and a difference there
is excused only if the graph on CPU preferred its choice by less than `TIE`. How much it preferred it is read from the
graph itself: what each step's choice is made from is given out as well. Where orders agree, so must values.

It needs no checkpoint, so it works for a bundle of which nothing else is left; but only for a graph that makes one
choice for each position in turn. SORT-Gen's does; DeGRe's takes its last from those of all positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.verify import TIE, TOLERANCE
from models.features import Arrays
from models.manifest import MODEL_FILE
from models.planners.runtime import GraphPlanner

_CHOICE: Final = "ArgMax"
_HELD: Final = ("value", "penalty")


@dataclass(frozen=True, slots=True)
class Parity:
    """What was compared. `same` lists are equal, `near_ties` equal up to a near tie, `different` are neither.

    Errors are relative to max(1, |value|), over all positions before the first difference: the largest of values and
    penalties, and of scores, which are held to nothing, since they are values divided by small units.
    `largest_margin` is the most by which a choice that came out otherwise was preferred; 0 if none did.
    """

    requests: int
    same: int
    near_ties: int
    different: int
    largest_margin: float
    largest_error: float
    largest_score_error: float

    @property
    def holds(self) -> bool:
        """No list differs but at a near tie, and no value by more than `TOLERANCE`."""
        return self.different == 0 and self.largest_error <= TOLERANCE

    def to_json(self) -> dict[str, Any]:
        """The figures, the limits and whether they hold."""
        return {**asdict(self), "holds": self.holds, "tie": TIE, "tolerance": TOLERANCE}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One request: by how much the choice that came out otherwise was preferred (None: none did), and errors."""

    margin: float | None
    error: float
    score_error: float


class CpuAnswers:
    """A bundle's graph on this CPU, with the margin of each of its choices."""

    def __init__(self, folder: Path, *, length: int) -> None:
        """Raises `ValueError` unless the graph makes one choice per position, `length` in all."""
        model = onnx.load(str(folder / MODEL_FILE))
        self._choices = [node.input[0] for node in model.graph.node if node.op_type == _CHOICE]
        if len(self._choices) != length:
            raise ValueError(f"{folder}: its graph has {len(self._choices)} choices, but lists have {length} positions")
        model.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in self._choices)
        self._planner = GraphPlanner(model)

    def __call__(self, request: Arrays) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64]]:
        """Outputs and margins [L] for a batch of one. The margin is infinite where there was no rival."""
        outputs = self._planner(request)
        return outputs, np.array([_margin(outputs[name]) for name in self._choices])


def _margin(scores: NDArray[Any]) -> float:
    """By how much the best of these scores is ahead of the second best."""
    ranked = np.sort(np.asarray(scores, np.float64).ravel())[::-1]
    return float(ranked[0] - ranked[1]) if len(ranked) > 1 else np.inf


def compare_answers(cpu: CpuAnswers, requests: Sequence[Arrays], answers: Mapping[str, NDArray[Any]]) -> Parity:
    """`answers` holds a row per request. Raises `ValueError` if it does not."""
    if len(answers["order"]) != len(requests):
        raise ValueError(f"there are {len(requests)} requests and {len(answers['order'])} answers")
    outcomes = [
        _compare(*cpu(request), {name: array[r] for name, array in answers.items()})
        for r, request in enumerate(requests)
    ]
    margins = [outcome.margin for outcome in outcomes if outcome.margin is not None]
    return Parity(
        requests=len(outcomes),
        same=len(outcomes) - len(margins),
        near_ties=sum(margin < TIE for margin in margins),
        different=sum(not margin < TIE for margin in margins),
        largest_margin=max(margins, default=0.0),
        largest_error=max((outcome.error for outcome in outcomes), default=0.0),
        largest_score_error=max((outcome.score_error for outcome in outcomes), default=0.0),
    )


def _compare(
    expected: Mapping[str, NDArray[Any]], margins: NDArray[np.float64], found: Mapping[str, NDArray[Any]]
) -> _Outcome:
    differs = expected["order"][0] != found["order"]
    until = int(differs.argmax()) if differs.any() else len(differs)
    chosen = expected["order"][0, :until] >= 0
    errors = {
        name: _error(found[name][:until][chosen], expected[name][0, :until][chosen]) for name in (*_HELD, "score")
    }
    return _Outcome(
        margin=float(margins[until]) if differs.any() else None,
        error=max(errors[name] for name in _HELD),
        score_error=errors["score"],
    )


def _error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Infinite where something is NaN: it must not pass for small."""
    errors = np.abs(found.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    return float(np.max(np.nan_to_num(errors, nan=np.inf), initial=0.0))
