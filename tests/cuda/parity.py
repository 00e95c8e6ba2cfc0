"""Compare a bundle's answers from another device with those of its own graph on this CPU.

The rule is `export.proof.verify`'s: orders are the same up to the first position where they differ, and a difference
there is excused only if the graph on CPU preferred its choice by less than `TIE`. How much it preferred it is read from
the graph itself: what each step's choice is made from is given out as well. Where orders agree, so must values.

It needs no checkpoint, so it works for a bundle of which nothing else is left; but only for a graph that makes one
choice for each position in turn. SORT-Gen's does; DeGRe's takes its last from those of all positions. What a beam cuts
and which of two lists is kept are choices for all positions at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.numpy_helper import to_array

from export.proof.verify import TIE, TOLERANCE
from models.contract.arrays import Arrays
from models.contract.manifest import MODEL_FILE
from models.planners.graphs.mmr import EMPTY
from models.planners.runtime import GraphPlanner

_STEP: Final = re.compile(r"step\d+/(ArgMax|TopK)_")
_LEAD: Final = re.compile(r"keep/Sub_")
_HELD: Final = ("value", "penalty")


@dataclass(frozen=True, slots=True)
class Parity:
    """Count compared answers as the `same`, equal up to `near_ties`, or `different`.

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
        """Tell whether lists differ only at near ties, and values by at most `TOLERANCE`."""
        return self.different == 0 and self.largest_error <= TOLERANCE

    def to_json(self) -> dict[str, Any]:
        """Return the figures, the limits and whether they hold."""
        return {**asdict(self), "holds": self.holds, "tie": TIE, "tolerance": TOLERANCE}


@dataclass(frozen=True, slots=True)
class _ComparedAnswer:
    """Hold one request's errors, and the margin of the choice that came out otherwise."""

    margin: float | None
    error: float
    score_error: float


class CpuAnswers:
    """Run a bundle's graph on this CPU, with the margin of each of its choices."""

    def __init__(self, folder: Path, *, length: int) -> None:
        """Load the graph. Raises `ValueError` unless it makes one choice per position, `length` in all."""
        model = onnx.load(str(folder / MODEL_FILE))
        constants = {t.name: t for t in model.graph.initializer}
        choices = [node for node in model.graph.node if _STEP.match(node.name)]
        # An ArgMax keeps one; a TopK says how many.
        self._kept = {n.input[0]: int(to_array(constants[n.input[1]])[0]) if n.input[1:] else 1 for n in choices}
        self._beam = any(node.op_type == "TopK" for node in choices)
        if len(self._kept) != length:
            raise ValueError(f"{folder}: its graph has {len(self._kept)} choices, but lists have {length} positions")
        self._lead = next((node.output[0] for node in model.graph.node if _LEAD.match(node.name)), "")
        wanted = [*self._kept, *[self._lead] * bool(self._lead)]
        model.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in wanted)
        self._planner = GraphPlanner(model)

    def __call__(self, request: Arrays) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64]]:
        """Answer a batch of one with outputs and margins [L], infinite without a rival.

        It is how nearly the place was another item's, by any choice that could have made it so.
        """
        outputs = self._planner(request)
        margins = np.array([_margin(outputs[name], kept) for name, kept in self._kept.items()])
        if self._beam:
            # Of the lists that are there when candidates run out, the first is the answer.
            ended = [outputs[name] for name in self._kept if outputs[name].max() > EMPTY / 2]
            margins[:] = min([margins.min(), *[_margin(scores, 1) for scores in ended[-1:]]])
        if self._lead:
            if outputs["kept_sort"][0]:
                margins[:] = margins.min()
            if outputs["kept_sort"][0] or not np.array_equal(outputs["order"], request["sort_slots"]):
                margins = np.minimum(margins, abs(float(outputs[self._lead][0, 0])))
        return outputs, margins


def _margin(scores: NDArray[Any], kept: int) -> float:
    """Measure the lead of the last kept score over the first that is not."""
    ranked = np.sort(np.asarray(scores, np.float64).ravel())[::-1]
    if len(ranked) <= kept or (kept > 1 and ranked[kept - 1] < EMPTY / 2):
        return np.inf
    return float(ranked[kept - 1] - ranked[kept])


def compare_answers(cpu: CpuAnswers, requests: Sequence[Arrays], answers: Mapping[str, NDArray[Any]]) -> Parity:
    """Compare `answers`, a row per request. Raises `ValueError` for another number of rows."""
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
) -> _ComparedAnswer:
    differs = expected["order"][0] != found["order"]
    until = int(differs.argmax()) if differs.any() else len(differs)
    chosen = expected["order"][0, :until] >= 0
    errors = {
        name: _error(found[name][:until][chosen], expected[name][0, :until][chosen]) for name in (*_HELD, "score")
    }
    return _ComparedAnswer(
        margin=float(margins[until]) if differs.any() else None,
        error=max(errors[name] for name in _HELD),
        score_error=errors["score"],
    )


def _error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Measure the largest relative error; infinite where something is NaN."""
    errors = np.abs(found.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    return float(np.max(np.nan_to_num(errors, nan=np.inf), initial=0.0))
