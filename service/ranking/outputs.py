"""Check what a model answered, before anything of it reaches a client.

All that a list or its explanation may show is checked in every request, whether or not it asks for an explanation. What
lies behind the steps that are used is not looked at. Letters: L steps, N slots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import numpy as np

from models.contract.arrays import AnyArray, Ints
from models.contract.manifest import KEPT_SORT, SORT_SLOTS
from models.contract.rules.ledger import Ledger
from models.contract.rules.ruling import Ruling
from models.contract.slots import Slots
from service.bundles.model import Model
from service.contract.schemas import ObjectiveValues
from service.inference.engine import EngineError, RequestArrays

_INTEGERS: Final = "lqi"
_FLOATS: Final = "fe"
"""numpy's codes of types: float32 and float16, in which no sum over a list overflows once it is in float64."""

_STEPS: Final = {"order": _INTEGERS, "runner_up": _INTEGERS, "penalty": _FLOATS, "score": _FLOATS}
"""The outputs of shape [L], and the types that they may have."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The model's slots [≤ L] in order, their value, and whether the sort's list was kept.

    `ledger` holds these slots' candidates, to go on from; None for a request without rules.
    """

    steps: Ints
    value: ObjectiveValues
    kept_sort: bool
    ledger: Ledger | None


def check_outputs(
    outputs: RequestArrays,
    slots: Slots,
    model: Model,
    top_n: int,
    *,
    ruling: Ruling | None = None,
    groups: int | None = None,
) -> Chosen:
    """Return the model's choice of at most `top_n` slots.

    A graph that keeps rules, of so many `groups`, may end its list where all are barred; what it says behind that is
    not looked at. Raises `EngineError` for an output that is missing or has another shape or type, an order that is
    impossible or breaks a rule, a runner-up that is no candidate, and numbers that are not finite.
    """
    _check_arrays(outputs, model.manifest.limits.list_length)
    steps = check_order(outputs["order"], slots, may_end=groups is not None)[:top_n]
    ledger = None if ruling is None else replay(ruling, slots.candidates[steps].tolist(), groups)
    n = len(steps) if ledger is None else ledger.place
    for name in ("penalty", "score"):
        told = outputs[name].tolist()[:n]
        if not math.isfinite(sum(told)):
            raise EngineError(f"the model answered a {name} that is not finite: {told}")
    _check_runners_up(outputs["runner_up"].tolist()[:n], slots)
    return Chosen(steps[:n], _list_value(outputs["value"].tolist()[:n]), _kept_sort(outputs, model), ledger)


def check_order(order: AnyArray, slots: Slots, *, may_end: bool = False) -> Ints:
    """Return the slots [≤ L] that the model chose, best first.

    Where the list `may_end`, what stands behind a gap is not looked at. Raises `EngineError` if it chose an empty slot,
    one that does not exist or one twice, or left a gap: the last guard of the law that a list is always valid.
    """
    told = order.tolist()
    if may_end:
        told = list(takewhile(lambda step: step >= 0, told))
    chosen = [step for step in told if step >= 0]
    known = chosen == told[: len(chosen)] and len(set(chosen)) == len(chosen) and max(chosen, default=0) < len(slots)
    if not known or _is_any_empty(chosen, slots):
        raise EngineError(f"the model answered an impossible order: {told}")
    return np.array(chosen, np.int64)


def replay(ruling: Ruling, picked: Sequence[int], groups: int | None) -> Ledger:
    """Put the model's candidates into a new ledger.

    Where more groups count than the graph knows, those from the first that breaks a rule on are left out. Raises
    `EngineError` for any other that breaks one.
    """
    ledger = Ledger(ruling)
    for candidate in picked:
        if (rule := ledger.barring(candidate)) is not None:
            if groups is not None and len(ruling.constraints) > groups:
                break
            raise EngineError(f"the model's list breaks the rule {rule} at place {ledger.place}: {picked}")
        ledger.put(candidate)
    return ledger


def _check_arrays(outputs: Mapping[str, AnyArray], length: int) -> None:
    for name, types in _STEPS.items():
        _check_array(name, outputs.get(name), (length,), types)
    _check_array("value", outputs.get("value"), (length, 3), _FLOATS)


def _check_array(name: str, found: object, shape: tuple[int, ...], types: str) -> None:
    if found is None:
        raise EngineError(f"the model's output {name} is missing")
    if not isinstance(found, (np.ndarray, np.generic)):
        raise EngineError(f"the model's output {name} is no array")
    if found.shape != shape or found.dtype.char not in types:
        raise EngineError(f"the model's output {name} has type {found.dtype} and shape {list(found.shape)}")


def _check_runners_up(told: Sequence[int], slots: Slots) -> None:
    """Raise `EngineError` unless each is −1 or a slot with a candidate."""
    there = [slot for slot in told if slot != -1]
    if there and (min(there) < 0 or max(there) >= len(slots) or _is_any_empty(there, slots)):
        raise EngineError(f"the model answered a runner-up that is no candidate: {told}")


def _is_any_empty(steps: Sequence[int], slots: Slots) -> bool:
    """Tell whether any of these slots has no candidate."""
    candidates = slots.candidates.tolist()  # Of so few numbers an array of flags takes longer.
    return any(candidates[step] < 0 for step in steps)


def _list_value(value: Sequence[Sequence[float]]) -> ObjectiveValues:
    """Sum the rows of `value` [n, 3]. Raises `EngineError` unless finite."""
    total = [sum(parts) for parts in zip(*value, strict=True)] or [0.0, 0.0, 0.0]
    if not math.isfinite(sum(total)):
        raise EngineError(f"the model answered a value that is not finite: {total}")
    return ObjectiveValues(*total)


def _kept_sort(outputs: RequestArrays, model: Model) -> bool:
    """Read whether the sort's list was kept; only some models say so."""
    if SORT_SLOTS not in model.inputs:
        return False
    _check_array(KEPT_SORT, outputs.get(KEPT_SORT), (), "?")
    return bool(outputs[KEPT_SORT])
