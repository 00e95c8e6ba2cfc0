"""What the tests of planners where truth is known share: sizes, wishes, values and the references' lists."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from models.contract.embeddings import unit_embeddings
from models.contract.features import Encoder
from models.data.records import ListRecord
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.planning import preparer
from models.evaluation.simulated.comparison import Searches, SimulatedCase
from models.nets.checkpoint import Checkpoint
from models.planners.references.beam import plan_beam
from models.planners.references.sort_gen import Gains, ModelGains, Preferences, Scorer, plan_queues

LENGTH, CANDIDATES = 3, 6
UNITS = {"click": 0.05, "conversion": 0.01, "gmv": 0.5}
WISH = Preferences((5.0, 1.0, 1.0), (0.05, 0.01, 0.5))
SEARCHES = Searches((1, 4), (1, 3))
Floats = NDArray[np.float64]


def true_worth(case: SimulatedCase, chosen: list[int]) -> float:
    return float(WISH.step_value(case.values(np.array([chosen])))[0])


def learnt_worth(checkpoint: Checkpoint, case: SimulatedCase, chosen: list[int]) -> float:
    """Step by step, as the reference sees it."""
    gains = model_gains(checkpoint, case)
    return sum(float(WISH.step_value(gains(chosen[:i], [slot]))[0]) for i, slot in enumerate(chosen))


def model_gains(checkpoint: Checkpoint, case: SimulatedCase) -> ModelGains:
    """Slots are candidate indices."""
    encoder = Encoder(checkpoint.spec)
    user = encoder.encode_user(case.record.user, case.record.context)
    items = encoder.encode_items(case.record.candidates) | {
        "embeddings": unit_embeddings([c.embedding for c in case.record.candidates])
    }
    return ModelGains(checkpoint.model, user | items)


def slot_queues(checkpoint: Checkpoint, case: SimulatedCase) -> list[list[int]]:
    """The queues that are served from, slots being candidates."""
    _, slots = preparer(checkpoint, LENGTH)(case.record, WISH)
    return [[i for i in queue if i >= 0] for queue in slots.reshape(-1, LENGTH).tolist()]


def reference_list(
    checkpoint: Checkpoint, case: SimulatedCase, gains: Gains, head_width: int, beam_width: int
) -> list[int]:
    """What the references plan over the queues, by a notion of value."""
    queues, nowhere = slot_queues(checkpoint, case), np.zeros((CANDIDATES, 1), np.float32)
    if beam_width == 1:
        steps = plan_queues(Scorer(gains, nowhere, WISH), queues, length=LENGTH, head_width=head_width)
    else:
        steps, _ = plan_beam(
            Scorer(gains, nowhere, WISH), queues, length=LENGTH, head_width=head_width, beam_width=beam_width
        )
    return [step.slot for step in steps]


def make_short_records(candidates: int) -> list[ListRecord]:
    source = load(
        SimulatorConfig(users=40, items=30, candidates=candidates, kappa=2.0, seed=1), seed=5, lists=2, length=1
    )
    return list(source.records)


def shut(checkpoint: Checkpoint, *shares: float) -> Checkpoint:
    """The checkpoint with other shares of its corrections kept."""
    model = copy.deepcopy(checkpoint.model)
    for head, share in zip(model.hazard_heads, shares, strict=True):
        head.share.fill_(share)
    return Checkpoint(model, checkpoint.units)
