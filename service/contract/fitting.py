"""Hold what a request or a scene asks for to what a bundle can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.contract.manifest import Manifest, same_mix
from models.contract.spec import OBJECTIVES
from service.contract.problems import invalid
from service.contract.schemas import Objectives, Queue

_SMALLEST_WEIGHT: Final = 1e-6  # Below, float32 arithmetic in the graph would divide 0 by 0.


def check_queue_count(queues: Sequence[Queue] | None, manifest: Manifest) -> None:
    """Raise `Problem` (422) if there are more queues than the model has."""
    if queues is not None and len(queues) > manifest.limits.queues:
        raise invalid(
            "queues", f"has {len(queues)} queues; model {manifest.name!r} takes at most {manifest.limits.queues}"
        )


def complete_weights(asked: Objectives, manifest: Manifest) -> tuple[float, ...]:
    """Return α, β, γ, the bundle's where none is asked for.

    Raises `Problem` (422) for weights that are all zero, of what the model does not value, or another mix than the
    only one that it knows.
    """
    given = (asked.click, asked.conversion, asked.gmv)
    for name, weight in zip(OBJECTIVES, given, strict=True):
        if weight and name not in manifest.valued:
            known = " and ".join(manifest.valued)
            raise invalid(
                f"objectives.{name}", f"must be 0 or missing, since model {manifest.name!r} values {known} only"
            )
    weights = tuple(
        manifest.objectives[name] if weight is None else weight for name, weight in zip(OBJECTIVES, given, strict=True)
    )
    if max(weights) < _SMALLEST_WEIGHT:
        raise invalid("objectives", f"are all zero; at least one weight must be {_SMALLEST_WEIGHT:g} or more")
    learnt = manifest.objectives
    if manifest.fixed_objectives and not same_mix(dict(zip(OBJECTIVES, weights, strict=True)), learnt):
        mix = ", ".join(f"{name} {learnt[name]:g}" for name in OBJECTIVES)
        raise invalid("objectives", f"model {manifest.name!r} was distilled for {mix} and knows no other mix")
    return weights
