"""Write small rulings as tensors, and read every number of them."""

from __future__ import annotations

import numpy as np
import pytest

from models.contract.arrays import Arrays
from models.contract.rules.definition import NO_RULES, Boost, Cap, Floor, Pin, Rules
from models.contract.rules.ruling import compile_rules
from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, RULE_INPUTS, SEEN, STEP_BARS, room_rows, rule_tensors
from tests.models.contract.rules.examples import Item, branded

L = 3


def tensors(brands: str, rules: Rules, *, shown: str = "", groups: int = 2, slots: list[int] | None = None) -> Arrays:
    """Write tensors of three steps; slots are the candidates in order, unless given."""
    shown_items = [Item(f"s{i}", {"brand": brand}) for i, brand in enumerate(shown)]
    ids = [item.id for item in shown_items]
    ruling = compile_rules(branded(brands), rules, shown=ids, shown_items=shown_items, top_n=5)
    dealt = np.array(range(len(brands)) if slots is None else slots, np.int64)
    return rule_tensors(ruling, dealt, length=L, groups=groups)


def capped(limit: int, window: int | None = None, *pins: Pin) -> Rules:
    return Rules(pinned=pins, caps=(Cap("brand", limit, window),))


def test_shapes_and_types() -> None:
    made = tensors("aab", capped(1), groups=4, slots=[0, -1, 1, 2])
    assert tuple(made) == RULE_INPUTS
    assert {name: array.shape for name, array in made.items()} == {
        STEP_BARS: (L, 4),
        MEMBERS: (4, 4),
        ROOM: (room_rows(L), 4),
        LIFTS: (4,),
        SEEN: (L, 4),
    }
    assert {array.dtype for array in made.values()} == {np.dtype(np.float32)}


def test_a_ruling_of_nothing_bars_nothing() -> None:
    made = tensors("aab", NO_RULES)
    assert not any(made[name].any() for name in (STEP_BARS, MEMBERS, LIFTS, SEEN))


def test_members_follow_the_slots() -> None:
    made = tensors("aabbb", capped(1), slots=[3, -1, 0, 1, 2])
    assert made[MEMBERS].T.tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("rules", "shown", "room"),
    [
        # Rows: step 1 back 1, step 2 back 1, step 2 back 2. The list has 3 steps, so 3 is room for all.
        (capped(1), "", [1, 3, 1]),
        (capped(1, 2), "", [1, 1, 3]),
        (capped(2, 3), "", [2, 2, 2]),
        (capped(2, 3), "a", [1, 2, 2]),
        (capped(2, 4), "aa", [0, 3, 1]),  # the list has 4 places, which the window from 0 holds
        (Rules(floors=(Floor("brand", "b", 1, 2),)), "", [1, 3, 3]),
    ],
)
def test_room_of_every_look_back(rules: Rules, shown: str, room: list[int]) -> None:
    made = tensors("aaab", rules, shown=shown, groups=1)
    assert made[ROOM][:, 0].tolist() == room
    assert not made[STEP_BARS][1:].any()


def test_pins_take_room_ahead_and_bar_where_none_is_left() -> None:
    made = tensors("aaabc", capped(2, 3, Pin("c0", 3)), groups=1)
    assert made[ROOM][:, 0].tolist() == [1, 3, 3], "the pin's own step has room for sure"
    assert made[STEP_BARS].tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 1, 1, 1, 1]]
    alone = tensors("aaabc", capped(1, 3, Pin("c0", 3)), groups=1)
    assert alone[STEP_BARS].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]


def test_shown_items_alone_bar_the_first_step() -> None:
    made = tensors("aabc", capped(1, 2), shown="a")
    assert made[STEP_BARS].tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_pin_past_the_steps_is_barred_from_all_and_counts_ahead() -> None:
    made = tensors("aabcd", capped(1, 3, Pin("c0", 4)), groups=1)
    assert made[STEP_BARS].tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]


def test_a_floor_of_every_place_bars_others_from_the_first() -> None:
    made = tensors("aab", Rules(floors=(Floor("brand", "b", 1, 1),)))
    assert made[STEP_BARS].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_constraints_that_cannot_bind_among_the_slots_are_left_out() -> None:
    rules = Rules(caps=(Cap("brand", 1, 2),))
    assert tensors("aaabb", rules, groups=1, slots=[0, 3, 4])[MEMBERS].T.tolist() == [[0, 1, 1]]
    assert not tensors("aaabb", rules, groups=1, slots=[0, 3])[MEMBERS].any()
    assert tensors("aaabb", rules, shown="a", groups=1, slots=[0, 3])[MEMBERS].T.tolist() == [[1, 0]]
    # A pin past the steps counts, also if it has no slot.
    assert tensors("aaabb", capped(1, 3, Pin("c1", 4)), groups=1, slots=[0, 3])[MEMBERS].T.tolist() == [[1, 0]]


def test_of_too_many_groups_the_most_exceeded_are_kept_in_their_order() -> None:
    brands = "aabbbccccdd"
    made = tensors(brands, capped(1), groups=2)
    kept = ["".join(brands[i] for i in np.flatnonzero(column)) for column in made[MEMBERS].T]
    assert kept == ["bbb", "cccc"]
    made = tensors(brands, capped(1), groups=3)
    assert np.flatnonzero(made[MEMBERS][:, 0]).tolist() == [0, 1], "of equals the first"


def test_lifts_and_seen_are_zero_where_there_is_nothing() -> None:
    candidates = [Item("c0", {"brand": "a"}, embedding=[1.0, 0.0]), Item("c1"), Item("c2", embedding=[-1.0, 0.0])]
    shown_items = [Item("s", embedding=[1.0, 0.0])]
    rules = Rules(boosts=(Boost({"brand": "a"}, 1.5),))
    ruling = compile_rules(candidates, rules, shown=["s"], shown_items=shown_items, top_n=2, mmr_window=2)
    made = rule_tensors(ruling, np.array([2, -1, 1, 0]), length=L, groups=1)
    assert made[LIFTS].tolist() == [0, 0, 0, 0.5]
    assert made[SEEN].tolist() == [[1, 0, 0, 3], [1, 0, 0, 3], [0, 0, 0, 0]]
