"""Planners where truth is known: nothing beats the optimum, every row plans as its name says, the command tells it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from models.data.list_file import read_lists, read_metadata
from models.datasets.simulator import Simulator, SimulatorConfig
from models.evaluation.planning import ServedPlanner, formula_sort, learnt_beam
from models.evaluation.simulated.comparison import (
    BASELINE,
    OPTIMUM,
    Planner,
    SimulatedCase,
    gain_pairs,
    in_units,
    known_rows,
    learnt_rows,
    plan_truly,
    served_name,
    true_name,
)
from models.judging.list_orders import bypassed
from models.nets.checkpoint import Checkpoint
from tests.models.evaluation.simulated.world import (
    CANDIDATES,
    LENGTH,
    SEARCHES,
    WISH,
    Floats,
    learnt_worth,
    make_short_records,
    model_gains,
    reference_list,
    shut,
    true_worth,
)


def test_cases_are_test_requests_with_the_truth_that_they_were_drawn_from(
    data: Path, cases: list[SimulatedCase]
) -> None:
    records = list(read_lists(data, "test"))[:8]
    assert [c.record for c in cases] == records
    simulator = Simulator(SimulatorConfig.from_metadata(read_metadata(data)))
    for case in cases:
        truth = simulator.find(case.record.request_id)
        assert [f"i{item}" for item in truth.items] == [c.id for c in case.record.candidates]
        one = np.array([[4, 0, 2]])
        np.testing.assert_array_equal(case.values(one), simulator.list_value(truth, one)[:, -1])


def test_the_table_has_a_row_per_planner_and_notion_of_value(rows: dict[str, Planner]) -> None:
    sizes = ["h=1", "h=1, W=3", "h=4", "h=4, W=3"]
    searches = ["greedy", "beam 3"]
    assert list(rows) == [
        "input order",
        BASELINE,
        *(f"true value, queues {size}" for size in sizes),
        *(f"true value, {search} over all" for search in searches),
        OPTIMUM,
        *(f"SORT-Gen, {size}" for size in sizes),
        *(f"learnt value, {search} over all" for search in searches),
        "learnt value, exhaustive",
    ]
    assert {name for pair in gain_pairs(SEARCHES) for name in pair} <= set(rows)


def test_every_planner_fills_the_list_with_different_candidates(lists: dict[str, list[list[int]]]) -> None:
    for planned in lists.values():
        for chosen in planned:
            assert len(chosen) == len(set(chosen)) == LENGTH
            assert set(chosen) <= set(range(CANDIDATES))


def test_no_planner_beats_the_optimum_on_any_request(
    cases: list[SimulatedCase], lists: dict[str, list[list[int]]]
) -> None:
    for i, case in enumerate(cases):
        best = true_worth(case, lists[OPTIMUM][i])
        assert best == pytest.approx(max(true_worth(case, list(p)) for p in permutations(range(CANDIDATES), LENGTH)))
        assert all(true_worth(case, planned[i]) <= best + 1e-12 for planned in lists.values())


def test_no_planner_beats_the_exhaustive_search_under_the_learnt_value(
    checkpoint: Checkpoint, cases: list[SimulatedCase], lists: dict[str, list[list[int]]]
) -> None:
    for i, case in enumerate(cases):
        best = learnt_worth(checkpoint, case, lists["learnt value, exhaustive"][i])
        worths = {name: learnt_worth(checkpoint, case, planned[i]) for name, planned in lists.items()}
        assert max(worths.values()) <= best + 1e-4
    assert lists["learnt value, exhaustive"] != lists[OPTIMUM]


@pytest.mark.parametrize(("head_width", "beam_width"), SEARCHES.pairs)
def test_what_is_served_is_the_better_valued_of_the_references_list_and_the_sorts(
    checkpoint: Checkpoint,
    cases: list[SimulatedCase],
    lists: dict[str, list[list[int]]],
    head_width: int,
    beam_width: int,
) -> None:
    kept, served = [], lists[served_name(head_width, beam_width)]
    for case, found, by_formula in zip(cases, served, lists[BASELINE], strict=True):
        planned = reference_list(checkpoint, case, model_gains(checkpoint, case), head_width, beam_width)
        better = learnt_worth(checkpoint, case, by_formula) > learnt_worth(checkpoint, case, planned)
        assert found == (by_formula if better else planned)
        kept.append(better)
    assert not all(kept)


@pytest.mark.parametrize(("head_width", "beam_width"), SEARCHES.pairs)
def test_the_same_search_under_true_values_is_the_references(
    checkpoint: Checkpoint,
    cases: list[SimulatedCase],
    lists: dict[str, list[list[int]]],
    head_width: int,
    beam_width: int,
) -> None:
    def gains(case: SimulatedCase, chosen: Sequence[int], candidates: Sequence[int]) -> Floats:
        """What each candidate truly adds."""
        values = case.outcomes(np.array([[*chosen, c] for c in candidates], np.int64))
        return np.diff(values, axis=1, prepend=0.0)[:, -1]

    for case, found in zip(cases, lists[true_name(head_width, beam_width)], strict=True):
        assert found == reference_list(checkpoint, case, partial(gains, case), head_width, beam_width)


def test_many_requests_at_once_are_served_as_one_by_one(checkpoint: Checkpoint, data: Path) -> None:
    records = list(read_lists(data))
    served = ServedPlanner.of(checkpoint, LENGTH, head_width=2)
    together = served(records, WISH)
    assert len(records) > 100
    assert together.tolist() == [served([record], WISH)[0].tolist() for record in records]


def test_requests_with_fewer_candidates_than_places_end_early(checkpoint: Checkpoint) -> None:
    records = [*make_short_records(2), *make_short_records(5)]
    for lists in (ServedPlanner.of(checkpoint, LENGTH)(records, WISH), formula_sort(checkpoint, records, WISH, LENGTH)):
        assert [sorted(row) for row in lists[:2].tolist()] == [[-1, 0, 1]] * 2
        assert (lists[:2, 2] == -1).all()
        assert (lists[2:] >= 0).all()


def test_where_no_correction_is_kept_the_sort_is_served(checkpoint: Checkpoint, cases: list[SimulatedCase]) -> None:
    records = [case.record for case in cases]
    for shares, weights, kept in (
        ((0.0, 0.0), (5.0, 1.0, 1.0), True),
        ((0.0, 1.0), (1.0, 0.0, 0.0), True),
        ((1.0, 0.0), (0.0, 1.0, 2.0), True),
        ((0.0, 1.0), (0.0, 0.0, 1.0), False),
        ((0.5, 0.0), (5.0, 1.0, 1.0), False),
    ):
        model, wish = shut(checkpoint, *shares), in_units(weights, checkpoint)
        assert bypassed(model.model, wish.weights) is kept
        same = ServedPlanner.of(model, LENGTH)(records, wish) == formula_sort(model, records, wish, LENGTH)
        assert not kept or same.all()


def test_a_beam_over_everything_finds_the_best_learnt_list(
    checkpoint: Checkpoint, cases: list[SimulatedCase], lists: dict[str, list[list[int]]]
) -> None:
    wide = learnt_beam(checkpoint, [case.record for case in cases], WISH, LENGTH, 120)
    best = lists["learnt value, exhaustive"]
    for case, found, other in zip(cases, wide.tolist(), best, strict=True):
        assert learnt_worth(checkpoint, case, found) == pytest.approx(learnt_worth(checkpoint, case, other), abs=1e-4)


def test_the_baselines_are_the_input_order_and_a_sort_by_what_prior_scores_promise(
    cases: list[SimulatedCase], lists: dict[str, list[list[int]]]
) -> None:
    assert lists["input order"] == [[0, 1, 2]] * len(cases)
    for case, found in zip(cases, lists[BASELINE], strict=True):
        promise = [
            5 * c.scores["ctr"] / 0.05
            + c.scores["ctr"] * c.scores["cvr"] / 0.01
            + c.scores["ctr"] * c.scores["cvr"] * (c.price or 0) / 0.5
            for c in case.record.candidates
        ]
        assert found == sorted(range(CANDIDATES), key=lambda i: -promise[i])[:LENGTH]


def test_greedy_over_all_takes_the_truly_best_next_item(
    cases: list[SimulatedCase], lists: dict[str, list[list[int]]]
) -> None:
    for case, found in zip(cases, lists["true value, greedy over all"], strict=True):
        for t in range(LENGTH):
            left = [i for i in range(CANDIDATES) if i not in found[:t]]
            assert found[t] == max(left, key=lambda i: true_worth(case, [*found[:t], i]))


def test_a_true_beam_holds_the_best_lists_of_all_that_its_queues_offer(cases: list[SimulatedCase]) -> None:
    queues = [[0, 1, 2], [3, 4], [5]]
    for case in cases:
        offered: list[list[int]] = [[]]
        for _ in range(LENGTH):
            longer = []
            for chosen in offered:
                heads = [[i for i in queue if i not in chosen][:2] for queue in queues]
                longer += [[*chosen, item] for head in heads for item in head]
            offered = longer
        best = max(offered, key=lambda chosen: true_worth(case, chosen))
        assert plan_truly(case, queues, WISH, head_width=2, beam_width=1000) == best
    worths = [
        np.mean([true_worth(c, plan_truly(c, queues, WISH, head_width=2, beam_width=w)) for c in cases]) for w in (1, 4)
    ]
    assert worths[0] < worths[1]


def test_exhaustive_rows_are_left_out_where_there_are_too_many_lists(checkpoint: Checkpoint) -> None:
    assert OPTIMUM in known_rows(checkpoint, SEARCHES, None, 1680)
    rows = known_rows(checkpoint, SEARCHES, None, 3024) | learnt_rows(checkpoint, 4, SEARCHES, 3024)
    assert not [name for name in rows if "exhaustive" in name]
