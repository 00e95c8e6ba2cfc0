"""Make sure that the independent check finds what is wrong."""

from __future__ import annotations

import pytest

from models.contract.rules.definition import Cap, Floor, Pin, Rules
from tests.models.contract.rules.check import problems
from tests.models.contract.rules.examples import Item, branded


@pytest.mark.parametrize(
    ("rules", "picked", "expected"),
    [
        (Rules(), [0, 1, 2, 3], []),
        (Rules(), [0, 1, 2], ["3 places, not 4"]),
        (Rules(), [0, 1, 1, 2], ["a candidate stands twice"]),
        (Rules(blocked=frozenset({"c0"})), [0, 1, 2], ["c0 is blocked or shown"]),
        (Rules(pinned=(Pin("c0", 2),)), [0, 1, 2, 3], ["c0 is pinned to place 1, where c1 stands"]),
        (Rules(pinned=(Pin("c0", 5),)), [0, 1, 2, 3], ["c0 is pinned to place 3, where c3 stands"]),
        (Rules(pinned=(Pin("c0", 6),)), [0, 1, 2, 3], []),
        (Rules(caps=(Cap("brand", 1),)), [0, 1, 2, 3], ["caps[0] is broken"]),
        (Rules(caps=(Cap("brand", 3, 3), Cap("brand", 1, 2))), [0, 1, 2, 3], ["caps[1] is broken"]),
        (Rules(caps=(Cap("brand", 1, 2),)), [0, 2, 1, 3], []),
        (Rules(floors=(Floor("brand", "b", 1, 2),)), [0, 1, 2, 3], ["floors[0] is broken"]),
        (Rules(floors=(Floor("brand", "b", 1, 2),)), [0, 2, 1, 3], []),
    ],
)
def test_each_rule_is_checked(rules: Rules, picked: list[int], expected: list[str]) -> None:
    assert problems(branded("aabb"), rules, picked, (), top_n=5) == expected


def test_relaxed_rules_may_be_broken() -> None:
    rules = Rules(caps=(Cap("brand", 1),), floors=(Floor("brand", "c", 1, 2),))
    assert problems(branded("aa"), rules, [0, 1], ("caps[0]", "floors[0]"), top_n=2) == []


def test_windows_reach_back_to_shown_items() -> None:
    def found(shown: str, window: int) -> list[str]:
        items = [Item(f"s{i}", {"brand": brand}) for i, brand in enumerate(shown)]
        ids = [item.id for item in items]
        return problems(
            branded("ab"), Rules(caps=(Cap("brand", 1, window),)), [0, 1], (), top_n=2, shown=ids, shown_items=items
        )

    assert found("a", 2) == ["caps[0] is broken"]
    assert found("b", 2) == []
    assert found("b", 3) == ["caps[0] is broken"]
    assert found("zz", 2) == [], "shown items alone break nothing"
