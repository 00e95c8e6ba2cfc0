"""Hold ledger, fill and tensors to each other, and finished lists to an independent check, for random rules.

`pytest -m slow tests/models/contract/rules` runs the same with 20,000 cases instead of 400.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from models.contract.arrays import Arrays, Bools
from models.contract.rules.ledger import Ledger, fill
from models.contract.rules.tensors import MEMBERS, ROOM, STEP_BARS, rule_tensors
from models.planners.references.step_rules import StepRules
from tests.models.contract.rules.cases import CASES, Case
from tests.models.contract.rules.check import broken_rules, problems

SOME = settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
MANY = settings(SOME, max_examples=20_000)


def faults(case: Case, picked: Sequence[int], ledger: Ledger) -> list[str]:
    """What is wrong with a finished list, also if it names a rule that it keeps."""
    shown, shown_items = case.shown, case.shown_items
    of = (case.candidates, case.rules, picked)
    found = problems(*of, ledger.relaxed, top_n=case.top_n, shown=shown, shown_items=shown_items)
    kept = set(ledger.relaxed) - set(broken_rules(*of, shown=shown, shown_items=shown_items))
    return found + [f"{rule} is named, but kept" for rule in sorted(kept)]


def graph_bars(tensors: Arrays, chosen: Sequence[int]) -> Bools:
    """Flag the slots [N] that a graph bars behind the chosen ones; `StepRules.bars` for all slots at once."""
    t = len(chosen)
    members, room, step_bars = (tensors[name].astype(np.int64) for name in (MEMBERS, ROOM, STEP_BARS))
    held = np.cumsum(members[list(chosen)][::-1], axis=0)
    first = t * (t - 1) // 2
    full = (held >= room[first : first + t]).any(axis=0)
    bars: Bools = (step_bars[t] > 0) | (members @ full > 0)
    return bars


def check_fill(case: Case) -> None:
    ruling = case.ruling()
    ledger = Ledger(ruling)
    picked = fill(ledger, case.ranked(), ruling.length)
    assert faults(case, picked, ledger) == []


def check_graph(case: Case) -> None:
    """Choose slots as a greedy graph would, and let the fill go on where it ends."""
    ruling, ledger = case.ruling(), Ledger(case.ruling())
    slots = case.slots(ruling)
    tensors = rule_tensors(ruling, slots, length=case.length, groups=max(1, len(ruling.constraints)))
    plain = StepRules.of({name: array[None] for name, array in tensors.items()}) if len(slots) <= 12 else None
    chosen: list[int] = []
    while len(chosen) < min(case.length, ruling.length):
        free = [k for k in range(len(slots)) if slots[k] >= 0 and k not in chosen]
        bars = graph_bars(tensors, chosen)
        if plain is not None and case.length <= 10:
            assert [k for k in free if bars[k]] == [k for k in free if plain.bars(chosen, k)]
        expected = ledger.open()
        assert [k for k in free if not bars[k]] == [k for k in free if expected[slots[k]]]
        assert [k for k in free if not bars[k]] == [k for k in free if ledger.barring(int(slots[k])) is None]
        best = next((k for k in free if not bars[k]), None)
        if best is None:
            break
        chosen.append(best)
        ledger.put(int(slots[best]))
    before = set(ledger.relaxed)
    assert before == set(ruling.relaxed), "a graph relaxes nothing"
    picked = [int(slots[k]) for k in chosen]
    picked += fill(ledger, case.ranked(), ruling.length - len(picked))
    assert faults(case, picked, ledger) == []


def check_few_groups(case: Case) -> None:
    """With fewer groups than constraints a graph bars less, and never what all constraints allow."""
    ruling, ledger = case.ruling(), Ledger(case.ruling())
    slots = case.slots(ruling)
    tensors = rule_tensors(ruling, slots, length=case.length, groups=2)
    chosen: list[int] = []
    while len(chosen) < min(case.length, ruling.length):
        bars, expected = graph_bars(tensors, chosen), ledger.open()
        following = [k for k in range(len(slots)) if slots[k] >= 0 and k not in chosen and expected[slots[k]]]
        assert not any(bars[k] for k in following)
        if not following:
            break
        chosen.append(following[0])
        ledger.put(int(slots[following[0]]))


@pytest.mark.long
@SOME
@given(CASES)
def test_a_filled_list_keeps_the_rules(case: Case) -> None:
    check_fill(case)


@pytest.mark.long
@SOME
@given(CASES)
def test_a_graph_bars_what_the_ledger_bars(case: Case) -> None:
    check_graph(case)


@settings(SOME, max_examples=100)
@given(CASES)
def test_a_graph_of_few_groups_bars_nothing_that_may_stand(case: Case) -> None:
    check_few_groups(case)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@MANY
@given(CASES)
def test_many_filled_lists_keep_the_rules(case: Case) -> None:
    check_fill(case)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@MANY
@given(CASES)
def test_a_graph_bars_what_the_ledger_bars_in_many_cases(case: Case) -> None:
    check_graph(case)
