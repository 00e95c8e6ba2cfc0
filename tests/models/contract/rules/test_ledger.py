"""Count lists, relax rules in the stated order, and fill lists, by hand-made examples."""

from __future__ import annotations

from time import process_time

import numpy as np
import pytest

from models.contract.arrays import Bools
from models.contract.rules.definition import Cap, Floor, Pin, Rules
from models.contract.rules.ledger import PINNED, TAKEN, Ledger, fill
from models.contract.rules.ruling import compile_rules
from tests.models.contract.rules.examples import Item, branded


def ledger(brands: str, rules: Rules, *, shown: str = "", top_n: int = 9) -> Ledger:
    """Count a list of candidates c0, c1, … of these brands, behind shown items of brands of their own."""
    shown_items = [Item(f"s{i}", {"brand": brand}) for i, brand in enumerate(shown)]
    ids = [item.id for item in shown_items]
    return Ledger(compile_rules(branded(brands), rules, shown=ids, shown_items=shown_items, top_n=top_n))


def filled(made: Ledger, n: int, places: int | None = None) -> list[int]:
    return fill(made, range(n), n if places is None else places)


def flagged(flags: Bools) -> list[int]:
    return np.flatnonzero(flags).tolist()


def test_without_rules_the_order_is_the_ranking() -> None:
    made = ledger("aaa", Rules())
    assert fill(made, [2, 0, 1], 2) == [2, 0]
    assert made.place == 2
    assert fill(made, [2, 0, 1], 1) == [1]
    assert made.relaxed == ()


def test_a_cap_of_the_whole_list() -> None:
    made = ledger("aaabb", Rules(caps=(Cap("brand", 1),)), top_n=2)
    assert filled(made, 5, 2) == [0, 3]
    assert made.relaxed == ()


def test_a_cap_of_a_window_lets_a_group_return() -> None:
    made = ledger("aaabbb", Rules(caps=(Cap("brand", 1, 2),)))
    assert filled(made, 6) == [0, 3, 1, 4, 2, 5]
    assert made.relaxed == ()


def test_a_window_holds_what_was_shown_just_before() -> None:
    rules = Rules(caps=(Cap("brand", 1, 3),))
    assert filled(ledger("abc", rules, shown="ab"), 3) == [2, 0, 1]
    assert filled(ledger("abc", rules, shown="abzz"), 3) == [0, 1, 2]
    assert filled(ledger("abca", Rules(caps=(Cap("brand", 1),)), shown="ab", top_n=3), 4, 3) == [0, 1, 2]


def test_pins_ahead_count_before_they_are_reached() -> None:
    rules = Rules(pinned=(Pin("c1", 3),), caps=(Cap("brand", 1, 3),))
    made = ledger("aabcd", rules)
    assert made.barring(0) == "caps[0]"
    assert made.barring(1) == PINNED
    assert filled(made, 5) == [2, 3, 1, 4, 0]
    assert made.relaxed == ("caps[0]",), "the fifth place is within three of the pin"


def test_only_a_pin_may_stand_at_its_place() -> None:
    made = ledger("abc", Rules(pinned=(Pin("c2", 1),)))
    assert flagged(made.open()) == flagged(made.settle()) == [2]
    assert [made.barring(i) for i in range(3)] == [PINNED, PINNED, None]
    with pytest.raises(ValueError, match="place 0, which is pinned"):
        made.put(0)
    made.put(2)
    assert [made.barring(i) for i in range(3)] == [None, None, PINNED]


def test_a_floor_keeps_places_for_its_group() -> None:
    made = ledger("aaaabb", Rules(floors=(Floor("brand", "b", 2, 3),)), top_n=5)
    assert filled(made, 6, 5) == [0, 4, 5, 1, 2]
    assert made.relaxed == ()


def test_a_floor_of_every_place() -> None:
    made = ledger("aab", Rules(floors=(Floor("brand", "b", 1, 1),)))
    assert flagged(made.open()) == [2]
    assert filled(made, 3) == [2, 0, 1]


def test_floors_are_relaxed_before_caps_the_last_given_first() -> None:
    floors = (Floor("brand", "a", 1, 1), Floor("brand", "b", 1, 1))
    made = ledger("abc", Rules(floors=floors))
    assert flagged(made.open()) == []
    assert flagged(made.settle()) == [0], "the second floor gives way"
    assert filled(made, 3) == [0, 1, 2]
    assert made.relaxed == ("floors[1]",)

    candidates = [Item("c0", {"brand": "a", "shop": "x"}), Item("c1", {"brand": "a", "shop": "y"})]
    candidates.append(Item("c2", {"brand": "b", "shop": "x"}))
    rules = Rules(caps=(Cap("brand", 1), Cap("shop", 1)))
    both = Ledger(compile_rules(candidates, rules, top_n=3))
    both.put(0)
    assert [both.barring(i) for i in range(3)] == [TAKEN, "caps[0]", "caps[1]"]
    assert flagged(both.open()) == []
    assert flagged(both.settle()) == [2], "the second cap gives way"
    assert fill(both, [1, 2, 0], 2) == [2, 1]
    assert both.relaxed == ("caps[1]", "caps[0]")


def test_a_floor_gives_way_before_a_cap_that_bars_others() -> None:
    rules = Rules(caps=(Cap("brand", 1),), floors=(Floor("brand", "a", 2, 2),))
    made = ledger("aab", rules, top_n=2)
    assert filled(made, 3, 2) == [0, 2]
    assert made.relaxed == ("floors[0]",)


def test_a_rule_is_relaxed_for_one_place_alone() -> None:
    made = ledger("aaab", Rules(pinned=(Pin("c3", 4),), caps=(Cap("brand", 1, 2),)))
    assert filled(made, 4) == [0, 1, 2, 3]
    assert made.relaxed == ("caps[0]",)
    again = ledger("aabcc", Rules(pinned=(Pin("c0", 1), Pin("c1", 2)), caps=(Cap("brand", 1, 2),)))
    assert again.relaxed == ("caps[0]",), "the pins break it"
    assert fill(again, [0, 1, 3, 4, 2], 5) == [0, 1, 3, 2, 4], "and it holds where it can"


def test_rules_that_are_broken_by_a_put_are_named() -> None:
    made = ledger("aab", Rules(caps=(Cap("brand", 1),)))
    named = []
    for candidate in (0, 1):
        made.put(candidate)
        named.append(made.relaxed)
    assert named == [(), ("caps[0]",)]


def test_what_can_stand_nowhere_is_refused() -> None:
    made = ledger("ab", Rules(blocked=frozenset({"c1"})))
    assert made.barring(1) == TAKEN
    with pytest.raises(ValueError, match="candidate 1 cannot stand at place 0: it is taken or left out"):
        made.put(1)
    made.put(0)
    assert flagged(made.open()) == []
    assert made.barring(0) == TAKEN
    for past_the_end in (made.settle, lambda: made.put(0), lambda: fill(made, [0, 1], 1)):
        with pytest.raises(ValueError, match="the list has 1 places, which are all taken"):
            past_the_end()


def test_a_copy_of_open_is_the_callers() -> None:
    made = ledger("ab", Rules())
    made.open()[:] = False
    assert flagged(made.open()) == [0, 1]


def test_thousands_of_groups_are_filled_in_seconds() -> None:
    # Without a look-up by candidate every place compares each group with all candidates: a minute in all.
    n, caps = 600, 6
    items = [Item(f"i{i}", tags={f"t{k}": i * (k + 1) % 299 for k in range(caps)}) for i in range(n)]
    rules = Rules(caps=tuple(Cap(f"t{k}", 1, 1000 if k % 2 else None) for k in range(caps)))
    ruling = compile_rules(items, rules, top_n=n)
    assert len(ruling.constraints) > 1_700
    before = process_time()
    made = Ledger(ruling)
    assert len(set(filled(made, n))) == n
    assert process_time() - before < 5
    assert made.relaxed
