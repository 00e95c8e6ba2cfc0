"""Make a response's items and timings. Letters: L steps, N slots."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import UNSET

from models.contract.arrays import Ints
from models.contract.rules.ruling import Ruling
from models.contract.spec import OBJECTIVES
from service.contract.schemas import Explanation, Item, ObjectiveValues, Source, Timings
from service.inference.engine import RequestArrays
from service.ranking.dealt import DealtRequest
from service.ranking.passed_over import passed_over
from service.telemetry.records import Stopwatch


def build_items(
    ids: Sequence[str],
    picked: Sequence[int],
    rest: Sequence[tuple[int, Source]],
    ruling: Ruling | None = None,
) -> list[Item]:
    """Build items from the model's picks, followed by the rest."""
    model: Source = "model"
    places = [*((i, model) for i in picked), *rest]
    items = [Item(ids[i], i, position, source) for position, (i, source) in enumerate(places, start=1)]
    if ruling is not None:
        for place in ruling.pins:
            items[place] = msgspec.structs.replace(items[place], pinned=True)
    return items


def explain_items(items: Sequence[Item], dealt: DealtRequest, steps: Ints, outputs: RequestArrays) -> list[Item]:
    """Explain the items that the model chose (SORT-Gen, eq. 1 and 6).

    The `outputs` have been checked.
    """
    n, plan, slots, ids = len(steps), dealt.plan, dealt.slots, dealt.candidates.ids
    weights = np.array(plan.weights)
    units = np.array([dealt.model.manifest.units[name] for name in OBJECTIVES])
    parts = (np.asarray(outputs["value"][:n], np.float64) * weights / units / weights.sum()).tolist()
    queues = slots.queues[steps].tolist()
    penalty, score = outputs["penalty"][:n].tolist(), outputs["score"][:n].tolist()
    second = outputs["runner_up"][:n].tolist()
    explanations = [
        Explanation(
            queue=plan.queues[queues[step]].name,
            parts=ObjectiveValues(*parts[step]),
            penalty=penalty[step],
            score=score[step],
            runner_up=ids[slots.candidates[second[step]]] if second[step] >= 0 else None,
        )
        for step in range(n)
    ]
    if plan.ruling is not None:
        explanations = _with_rules(explanations, dealt, plan.ruling, slots.candidates[steps].tolist())
    explained = [
        msgspec.structs.replace(item, explanation=why) for item, why in zip(items[:n], explanations, strict=True)
    ]
    return [*explained, *items[n:]]


def _with_rules(
    explanations: Sequence[Explanation], dealt: DealtRequest, ruling: Ruling, picked: Sequence[int]
) -> list[Explanation]:
    """Add boosts, and what rules kept from each place."""
    boosts = [1.0] * len(picked) if ruling.boosts is None else ruling.boosts[picked].tolist()
    passed = passed_over(dealt, ruling, picked)
    return [
        msgspec.structs.replace(why, boost=UNSET if boost == 1 else boost, passed_over=over or UNSET)
        for why, boost, over in zip(explanations, boosts, passed, strict=True)
    ]


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
        live=ms.get("live", UNSET),
    )
