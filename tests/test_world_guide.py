"""docs/world.md: the table of numbers is the declared world's, whole, and the strengths are the code's."""

from __future__ import annotations

import dataclasses
import re

from models.datasets.declared_world import DECLARED, EXPLORATION, LENGTH, MEDIUM, STRONG, WEAK
from tests.documents import ROOT

WORLD = (ROOT / "docs" / "world.md").read_text("utf-8")


def test_every_number_of_the_declared_world_is_in_the_table() -> None:
    numbers = WORLD.partition("## Every number")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", numbers, re.MULTILINE))
    assert told == {field.name: str(getattr(DECLARED, field.name)) for field in dataclasses.fields(DECLARED)}


def test_the_strengths_and_the_policy_are_those_of_the_code() -> None:
    assert f"*weak* {WEAK:g}, *medium* {MEDIUM:g}, *strong* {STRONG:g}" in WORLD
    assert f"`EXPLORATION` = {EXPLORATION:g}" in WORLD
    assert f"A list has {LENGTH} places" in WORLD
