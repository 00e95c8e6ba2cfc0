"""Make rules for references, neutral but for what a test sets."""

from __future__ import annotations

from models.planners.references.step_rules import StepRules
from tests.models.planners.rule_examples import no_rules


def free(length: int, slots: int, groups: int = 2) -> StepRules:
    """Rules that bar and change nothing; their arrays may be written to."""
    rules = StepRules.of(no_rules(length, slots, groups))
    assert rules is not None
    return rules
