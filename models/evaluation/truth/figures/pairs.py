"""Show requests before and after, in the form of SORT-Gen's Figure 2.

That is, the base's list and SORT-Gen's, with the queue that each item waited in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.scalars import Scalar
from models.data.records import Candidate
from models.evaluation.planning import preparer
from models.evaluation.simulated.comparison import SimulatedCase
from models.evaluation.truth.figures.calibration import value_model
from models.evaluation.truth.figures.results import PointResults
from models.evaluation.truth.figures.rows import BASE, SORT_GEN_BEAM, both, title_of
from models.nets.checkpoint import Checkpoint
from models.planners.objective import default_queues
from models.planners.references.sort_gen import Preferences
from models.reporting.contents import ListPair, ShownItem
from models.reporting.numbers import MINUS, fixed

_NONE: Final = -1
_QUEUES: Final = {"click": "clicks", "conversion": "purchases", "gmv": "GMV", "formula": "objective formula"}
"""What the queues are called, by their names in a bundle: each holds the candidates that a formula puts first."""


def list_pairs(point: PointResults) -> list[ListPair]:
    """Show the requests of the largest, the median and the smallest gain.

    Gains are in list value, relative. Empty where lists are missing.
    """
    found, checkpoint = both(point, SORT_GEN_BEAM, BASE), value_model(point)
    before, after = (point.first_lists(name) for name in (BASE, SORT_GEN_BEAM))
    if found is None or checkpoint is None or before is None or after is None:
        return []
    preferences = point.preferences()
    ours, theirs = (outcomes.worth(preferences).values[0] for outcomes in found)
    gains = ours / theirs - 1
    queues = [_QUEUES.get(queue.name, queue.name) for queue in default_queues(checkpoint.spec, checkpoint.units)]
    pairs = []
    for title, row in chosen_requests(gains).items():
        case, change = point.bench.cases[row], fixed(100 * float(gains[row]), 1, sign=True)
        came_from = _queues(checkpoint, case, preferences)
        pairs.append(
            ListPair(
                title=f"{title}: {change}% list value",
                sides=(title_of(point, BASE), title_of(point, SORT_GEN_BEAM)),
                user=_texts({**case.record.user, **case.record.context}),
                queues=queues,
                before=_items(case, before[row], came_from),
                after=_items(case, after[row], came_from),
            )
        )
    return pairs


def chosen_requests(gains: Floats) -> dict[str, int]:
    """Choose the requests of the largest, the median and the smallest gain [n]."""
    order = np.argsort(-gains, kind="stable").tolist()
    titles = {"Largest gain": order[0], "Median gain": order[(len(order) - 1) // 2]}
    return titles | {"Largest loss" if gains[order[-1]] < 0 else "Smallest gain": order[-1]}


def _queues(checkpoint: Checkpoint, case: SimulatedCase, preferences: Preferences) -> dict[int, int]:
    """Map each candidate that waits in a queue to that queue."""
    prepare = preparer(checkpoint, case.length)
    _, slots = prepare(case.record, preferences)
    by_queue = slots.reshape(prepare.limits.queues, -1).tolist()
    return {item: queue for queue, waiting in enumerate(by_queue) for item in waiting if item >= 0}


def _items(case: SimulatedCase, chosen: Ints, queues: Mapping[int, int]) -> Sequence[ShownItem]:
    steps = np.diff(case.outcomes(chosen[None])[0], axis=0, prepend=0.0).tolist()
    shown = []
    for index, (click, conversion, gmv) in zip(chosen.tolist(), steps, strict=True):
        candidate, queue = case.record.candidates[index], queues.get(index, _NONE)
        attributes = _attributes(candidate)
        shown.append(
            ShownItem(id=candidate.id, attributes=attributes, queue=queue, click=click, conversion=conversion, gmv=gmv)
        )
    return shown


def _attributes(candidate: Candidate) -> dict[str, str]:
    price = {} if candidate.price is None else {"price": f"{candidate.price:.2f}"}
    return _texts(candidate.features) | price


def _texts(values: Mapping[str, Scalar]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def _text(value: Scalar) -> str:
    return f"{value:g}".replace("-", MINUS) if isinstance(value, float) else str(value)
