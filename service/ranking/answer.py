"""Make a response's items and timings. Letters: L steps, N slots."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from models.contract.arrays import Ints
from models.contract.manifest import Manifest
from models.contract.slots import Slots
from models.contract.spec import OBJECTIVES
from service.contract.schemas import Candidate, Explanation, Item, ObjectiveValues, Source, Timings
from service.inference.engine import RequestArrays
from service.ranking.plan import RequestPlan
from service.telemetry.records import Stopwatch


def build_items(
    candidates: Sequence[Candidate], picked: Sequence[int], rest: Sequence[tuple[int, Source]]
) -> list[Item]:
    """Build items from the model's picks, followed by the rest."""
    model: Source = "model"
    places = [*((i, model) for i in picked), *rest]
    return [Item(candidates[i].id, i, position, source) for position, (i, source) in enumerate(places, start=1)]


def explain_items(
    items: Sequence[Item],
    candidates: Sequence[Candidate],
    plan: RequestPlan,
    manifest: Manifest,
    slots: Slots,
    steps: Ints,
    outputs: RequestArrays,
) -> list[Item]:
    """Explain the items that the model chose (SORT-Gen, eq. 1 and 6).

    The `outputs` have been checked.
    """
    n = len(steps)
    weights = np.array(plan.weights)
    units = np.array([manifest.units[name] for name in OBJECTIVES])
    parts = (np.asarray(outputs["value"][:n], np.float64) * weights / units / weights.sum()).tolist()
    queues = slots.queues[steps].tolist()
    penalty, score = outputs["penalty"][:n].tolist(), outputs["score"][:n].tolist()
    second = outputs["runner_up"][:n].tolist()
    explained = [
        msgspec.structs.replace(
            items[step],
            explanation=Explanation(
                queue=plan.queues[queues[step]].name,
                parts=ObjectiveValues(*parts[step]),
                penalty=penalty[step],
                score=score[step],
                runner_up=candidates[slots.candidates[second[step]]].id if second[step] >= 0 else None,
            ),
        )
        for step in range(n)
    ]
    return [*explained, *items[n:]]


def read_timings(clock: Stopwatch) -> Timings:
    """Read the milliseconds of the stages; 0 for those that were left out."""
    ms = {stage: round(seconds * 1e3, 3) for stage, seconds in clock.stages.items()}
    return Timings(
        decode=ms["decode"],
        deal=ms["deal"],
        encode=ms.get("encode", 0.0),
        wait=ms.get("wait", 0.0),
        infer=ms.get("infer", 0.0),
        total=round(clock.elapsed * 1e3, 3),
    )
