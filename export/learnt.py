"""Read what a checkpoint says its lists are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.contract.verdict import UNMEASURED, Verdict

VERDICT: Final = "verdict"
"""Key of the verdict in a checkpoint's provenance."""


def verdict_of(provenance: Mapping[str, Any]) -> Verdict:
    """Read what training found a model to be worth, from its provenance; a generator may have its evaluator's only.

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
