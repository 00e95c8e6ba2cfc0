"""Load the family in a checkpoint, and read the verdict on its lists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from export.families.degre import Degre
from export.families.family import ModelFamily
from export.families.sort_gen import SortGen
from models.contract.verdict import UNMEASURED, Verdict
from models.nets.checkpoint import GENERATOR_KIND, checkpoint_kind, load_checkpoint, load_generator_checkpoint

VERDICT: Final = "verdict"
"""Key of the verdict in a checkpoint's provenance."""


def load_family(path: Path) -> ModelFamily:
    """Load the model in a checkpoint of either kind. Raises `CheckpointError`."""
    if checkpoint_kind(path) == GENERATOR_KIND:
        return Degre(load_generator_checkpoint(path))
    return SortGen(load_checkpoint(path))


def verdict_of(provenance: Mapping[str, Any]) -> Verdict:
    """Read training's verdict on a model, or its evaluator's, from its provenance.

    Raises `SpecError` naming the key that is wrong.
    """
    if (own := provenance.get(VERDICT)) is not None:
        return Verdict.from_json(own, "the checkpoint's verdict")
    teacher = provenance.get("evaluator")
    found = teacher.get(VERDICT) if isinstance(teacher, Mapping) else None
    if found is None:
        return UNMEASURED
    verdict = Verdict.from_json(found, "the evaluator's verdict")
    sentence = f"Of the evaluator that this generator was distilled from: {verdict.sentence}"
    return Verdict(verdict.outcome, sentence, verdict.figures)
