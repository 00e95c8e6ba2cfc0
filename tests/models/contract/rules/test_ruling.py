"""Compile each kind of rule by hand-made examples."""

from __future__ import annotations

import numpy as np
import pytest

from models.contract.rules.definition import MOST_GROUPS, NO_RULES, Boost, Cap, Floor, Pin, Rules
from models.contract.rules.ruling import Constraint, Ruling, compile_rules
from models.contract.scalars import FeatureError, Scalar
from tests.models.contract.rules.examples import Item, branded


def pinned(*pins: tuple[str, int]) -> Rules:
    return Rules(pinned=tuple(Pin(name, position) for name, position in pins))


def members(constraint: Constraint) -> list[int]:
    return np.flatnonzero(constraint.members).tolist()


def test_nothing_binds_without_rules() -> None:
    ruling = compile_rules(branded("aab"), NO_RULES, top_n=5)
    assert ruling.allowed.all()
    assert (ruling.length, ruling.pins, ruling.constraints, ruling.relaxed) == (3, {}, (), ())
    assert ruling.boosts is ruling.seen is None
    assert not ruling.binds


def test_blocked_and_shown_are_left_out_and_bind_nothing() -> None:
    ruling = compile_rules(branded("aabb"), Rules(blocked=frozenset({"c1", "unknown"})), shown=["c3", "old"], top_n=4)
    assert ruling.allowed.tolist() == [True, False, True, False]
    assert ruling.length == 2
    assert not ruling.binds


@pytest.mark.parametrize("limit", [1, 2])
def test_too_many_groups_are_refused_by_the_name_of_their_cap(limit: int) -> None:
    items = [Item(f"c{i}", {"pair": i // 2, "brand": i % 2}) for i in range(2 * MOST_GROUPS)]
    whole = compile_rules(items, Rules(caps=(Cap("pair", 1),)), top_n=10)
    assert len(whole.constraints) == MOST_GROUPS
    caps = (Cap("pair", 1), Cap("pair", 2), Cap("brand", limit))  # no pair has more than 2
    with pytest.raises(
        FeatureError, match=f"2 values of 'brand' can exceed the limit; all caps may have {MOST_GROUPS}"
    ) as e:
        compile_rules(items, Rules(caps=caps), top_n=10)
    assert e.value.path == "rules.caps[2]"


def test_constraints_are_counted_as_their_members_say() -> None:
    rules = Rules(caps=(Cap("brand", 1, 3), Cap("brand", 2)), floors=(Floor("brand", "b", 2, 3),))
    ruling = compile_rules(branded("aaabb-"), rules, shown=["x"], shown_items=[Item("x", {"brand": "a"})], top_n=5)
    some = np.array([0, 2, 3, 5])
    held = [int(c.members[some].sum()) for c in ruling.constraints]
    assert ruling.held(some).tolist() == held == [2, 1, 2, 3]
    assert ruling.excess(some).tolist() == [2 + 1 - 1, 1 - 1, 2 - 2, 3 - 1]


def test_all_blocked_is_an_empty_list() -> None:
    rules = Rules(
        blocked=frozenset({"c0"}), caps=(Cap("brand", 1), Cap("brand", 1, 3)), floors=(Floor("brand", "a", 1, 2),)
    )
    ruling = compile_rules(branded("a"), rules, shown=["x"], top_n=3)
    assert (ruling.length, ruling.constraints, ruling.relaxed) == (0, (), ("floors[0]",))


def test_pins_stand_at_their_positions() -> None:
    ruling = compile_rules(branded("aaaa"), pinned(("c2", 3), ("c0", 1)), top_n=4)
    assert ruling.pins == {0: 0, 2: 2}
    assert ruling.binds


@pytest.mark.parametrize(
    ("pins", "places"),
    [
        ([("c0", 9)], {2: 0}),
        ([("c1", 9), ("c0", 8)], {1: 0, 2: 1}),
        ([("c1", 9), ("c0", 3)], {1: 1, 2: 0}),
        ([("c2", 3), ("c1", 4), ("c0", 2)], {0: 1, 1: 0, 2: 2}),
    ],
)
def test_pins_beyond_a_short_list_take_its_last_free_places(
    pins: list[tuple[str, int]], places: dict[int, int]
) -> None:
    assert compile_rules(branded("aaa"), pinned(*pins), top_n=9).pins == places


def test_pins_that_cannot_be_kept_are_named() -> None:
    rules = Rules(
        pinned=tuple(Pin(*p) for p in [("no", 1), ("c1", 2), ("c2", 3), ("c0", 1), ("c0", 4), ("c3", 1), ("c4", 6)]),
        blocked=frozenset({"c1"}),
    )
    ruling = compile_rules(branded("aaaaaaa"), rules, shown=["c2"], top_n=5)
    assert ruling.pins == {0: 0}
    assert ruling.ignored_pins == ("no", "c1", "c2", "c0", "c3", "c4")


def test_a_cap_without_a_window_has_one_window_and_no_shown_items() -> None:
    ruling = compile_rules(branded("aabb-a"), Rules(caps=(Cap("brand", 2),)), shown=["x"], top_n=4)
    (cap,) = ruling.constraints
    assert (cap.rule, members(cap), cap.limit, cap.window) == ("caps[0]", [0, 1, 5], 2, 4)
    assert (cap.first, cap.last, len(cap.shown)) == (0, 0, 0)


def test_a_windows_starts_reach_back_to_the_shown_items() -> None:
    shown_items = [Item("x", {"brand": "a"}), Item("y", {"brand": "b"}), Item("z", {"brand": "a"})]
    rules = Rules(caps=(Cap("brand", 1), Cap("brand", 1, 3)))
    ruling = compile_rules(branded("aacb"), rules, shown=["x", "y", "z", "?"], shown_items=shown_items, top_n=4)
    _, cap = ruling.constraints
    assert (cap.rule, members(cap), cap.window, cap.first, cap.last) == ("caps[1]", [0, 1], 3, -2, 1)
    assert cap.shown.tolist() == [True, False]


def test_what_is_shown_is_known_from_the_shown_items_else_from_the_candidates() -> None:
    shown_items = [Item("c0", {"brand": "b"})]
    rules = Rules(caps=(Cap("brand", 1, 4),))
    ruling = compile_rules(branded("aaab"), rules, shown=["c1", "c0"], shown_items=shown_items, top_n=4)
    of = {tuple(members(c)): c.shown.tolist() for c in ruling.constraints}
    assert of == {(2,): [True, False], (3,): [False, True]}


def test_groups_that_cannot_exceed_their_limit_are_left_out() -> None:
    candidates = branded("aaabbc")
    kept = [members(c) for c in compile_rules(candidates, Rules(caps=(Cap("brand", 2),)), top_n=6).constraints]
    assert kept == [[0, 1, 2]]
    assert not compile_rules(candidates, Rules(caps=(Cap("brand", 2),)), top_n=2).binds
    assert not compile_rules(candidates, Rules(caps=(Cap("brand", 2, 2),)), top_n=6).binds
    rules = Rules(caps=(Cap("brand", 2),), blocked=frozenset({"c1"}))
    assert not compile_rules(candidates, rules, top_n=6).binds


def test_values_compare_by_text_and_tags_win() -> None:
    values: list[Scalar] = [5, 5.0, "5", True, "true", None]
    candidates = [Item(f"f{i}", {}, {"size": value}) for i, value in enumerate(values)]
    candidates += [Item("t", {"size": "true"}, {"size": 5}), Item("n", {"size": None}, {"size": 5})]
    candidates += [Item("z", {"size": 0}, {"size": 5}), Item("e", {"size": "0"})]
    ruling = compile_rules(candidates, Rules(caps=(Cap("size", 1),)), top_n=8)
    assert [members(c) for c in ruling.constraints] == [[0, 1, 2, 7], [3, 4, 6], [8, 9]]


def test_a_floor_is_a_cap_on_all_others() -> None:
    ruling = compile_rules(branded("ab-ab"), Rules(floors=(Floor("brand", "b", 2, 3),)), top_n=5)
    (floor,) = ruling.constraints
    assert (floor.rule, members(floor), floor.limit, floor.window) == ("floors[0]", [0, 2, 3], 1, 3)
    assert (floor.first, floor.last, len(floor.shown)) == (0, 0, 0)
    assert ruling.relaxed == ()


@pytest.mark.parametrize(
    ("brands", "floor", "pins", "limit"),
    [
        ("aaab", Floor("brand", "b", 2, 3), [], 2),  # one exists
        ("aaa", Floor("brand", "b", 2, 3), [], None),  # none exists
        ("bbbaa", Floor("brand", "b", 4, 2), [], 0),  # two places
        ("bbbaa", Floor("brand", "b", 2, 2), [("c3", 1)], 1),  # a pin takes one of two places
        ("bbaaa", Floor("brand", "b", 2, 3), [("c0", 4)], 2),  # one of two is pinned behind them
    ],
)
def test_a_floor_is_cut_to_what_there_is_and_named(
    brands: str, floor: Floor, pins: list[tuple[str, int]], limit: int | None
) -> None:
    rules = Rules(pinned=pinned(*pins).pinned, floors=(floor,))
    ruling = compile_rules(branded(brands), rules, top_n=5)
    assert ruling.relaxed == ("floors[0]",)
    assert [c.limit for c in ruling.constraints] == ([] if limit is None else [limit])


def test_a_floor_that_any_list_keeps_is_no_constraint() -> None:
    assert not compile_rules(branded("bba"), Rules(floors=(Floor("brand", "b", 1, 2),)), top_n=3).binds


@pytest.mark.parametrize(
    ("cap", "pins", "shown", "broken"),
    [
        (Cap("brand", 1), [1, 4], "", True),
        (Cap("brand", 2), [1, 4], "", False),
        (Cap("brand", 1, 3), [1, 4], "", False),
        (Cap("brand", 1, 4), [1, 4], "", True),
        (Cap("brand", 2, 3), [1], "aa", True),
        (Cap("brand", 2, 3), [2], "aa", False),
        (Cap("brand", 1, 3), [4], "aa", False),
        (Cap("brand", 1, 1), [1, 2], "aa", False),
    ],
)
def test_caps_that_pins_break_are_named(cap: Cap, pins: list[int], shown: str, broken: bool) -> None:
    rules = Rules(pinned=tuple(Pin(f"c{i}", position) for i, position in enumerate(pins)), caps=(cap,))
    shown_items = [Item(f"s{i}", {"brand": brand}) for i, brand in enumerate(shown)]
    ids = [item.id for item in shown_items]
    ruling = compile_rules(branded("aaabbb"), rules, shown=ids, shown_items=shown_items, top_n=6)
    assert ruling.relaxed == (("caps[0]",) if broken else ())


def test_boosts_multiply_and_need_all_values() -> None:
    candidates = [Item("x", {"brand": "a"}, {"new": True}), Item("y", {"brand": "a"}), Item("z", {"brand": "b"})]
    boosts = (Boost({"brand": "a"}, 2.0), Boost({"brand": "a", "new": "true"}, 1.5), Boost({"brand": "c"}, 9.0))
    ruling = compile_rules(candidates, Rules(boosts=boosts), top_n=3)
    assert ruling.boosts is not None
    assert ruling.boosts.tolist() == [3.0, 2.0, 1.0]
    many = (Boost({"brand": "a"}, 1000.0),) * 3 + (Boost({"brand": "c"}, 0.001),) * 3
    bounded = compile_rules(candidates, Rules(boosts=many), top_n=3).boosts
    assert bounded is not None
    assert sorted(set(bounded.tolist()))[-1] == 1000.0
    assert ruling.binds
    assert compile_rules(candidates, Rules(boosts=(Boost({"brand": "c"}, 9.0),)), top_n=3).boosts is None


def test_fields_that_no_candidate_has_are_named_once() -> None:
    rules = Rules(
        caps=(Cap("shop", 1), Cap("brand", 1)),
        floors=(Floor("shop", "x", 1, 1),),
        boosts=(Boost({"brand": "a", "age": 1}, 2.0),),
    )
    assert compile_rules(branded("a-"), rules, top_n=1).unused == ("shop", "age")


def embedded(*rows: list[float] | None) -> list[Item]:
    return [Item(f"c{i}", embedding=row) for i, row in enumerate(rows)]


def seen(ruling: Ruling) -> list[list[float | None]]:
    """Cosines to two digits, None for NaN."""
    assert ruling.seen is not None
    return [[None if np.isnan(x) else round(float(x), 2) for x in row] for row in ruling.seen]


def test_seen_is_the_largest_cosine_that_the_window_reaches() -> None:
    candidates = embedded([2.0, 0.0], [0.0, 1.0], None)
    shown_items = [Item("s0", embedding=[1.0, 0.0]), Item("s1", embedding=[0.0, 3.0])]
    shown = ["s0", "?", "s1"]  # an unknown item takes its place in the window
    found = {
        window: seen(
            compile_rules(candidates, NO_RULES, shown=shown, shown_items=shown_items, top_n=3, mmr_window=window)
        )
        for window in (1, 3, 9)
    }
    none: list[float | None] = [None, None, None]
    assert found[1] == [[0, 1, None], none, none]
    assert found[3] == [[1, 1, None], [0, 1, None], [0, 1, None]]
    assert found[9] == [[1, 1, None]] * 3


def test_seen_is_none_where_nothing_is_to_be_compared() -> None:
    known = [Item("s", embedding=[1.0])]
    one, none = embedded([1.0]), embedded(None)
    for candidates, shown, items, window in (
        (one, ["s"], known, 0),
        (none, ["s"], known, 2),
        (one, ["s"], [], 2),
        (one, ["s", "?"], known, 1),
        (one, ["s"], [Item("s", embedding=[0.0])], 2),
    ):
        ruling = compile_rules(candidates, NO_RULES, shown=shown, shown_items=items, top_n=1, mmr_window=window)
        assert ruling.seen is None


def test_embeddings_of_other_lengths_are_refused() -> None:
    known = [Item("s", embedding=[1.0, 2.0])]
    with pytest.raises(ValueError, match="shown items have embeddings of 2 numbers, candidates of 1"):
        compile_rules(embedded([1.0]), NO_RULES, shown=["s"], shown_items=known, top_n=1, mmr_window=1)
