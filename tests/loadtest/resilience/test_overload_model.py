"""The model of two threads on one CPU: its scheduler, one request alone, and what it says of policies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from loadtest.resilience.overload_model import __main__ as command
from loadtest.resilience.overload_model.costs import MS, Costs, Draws, arrivals, neighbours
from loadtest.resilience.overload_model.cpu import RELEASE, SLEEP, Cpu, Pause, Thread, Work
from loadtest.resilience.overload_model.figures import Load, Run, simulate, times_ms
from loadtest.resilience.overload_model.policy import BEFORE, NOW, Policy
from loadtest.resilience.overload_model.server import Server

EXACT = replace(Costs(), spread=0.0, stolen_rate=0.0)
SHORT = Load(seconds=8.0, around=2.5)


def run_threads(first: list[Work | Pause], second: list[Work | Pause], seconds: float = 1.0) -> list[tuple[str, float]]:
    """When each thread was done with each of its works."""
    done: list[tuple[str, float]] = []
    loop, other = Thread(), Thread()
    cpu = Cpu(loop, other, slice_seconds=1 * MS, switch_seconds=5 * MS)

    def steps(name: str, works: list[Work | Pause]) -> Iterator[Work | Pause]:
        for work in works:
            yield work
            if isinstance(work, Work):
                done.append((name, round(cpu.now / MS, 6)))
        while True:
            yield SLEEP

    loop.steps, other.steps = steps("a", first), steps("b", second)  # type: ignore[assignment]
    cpu.run(seconds, lambda: math.inf, lambda: None)
    return done


def test_two_threads_take_turns_on_the_cpu_and_nothing_is_lost() -> None:
    done = run_threads([Work(3 * MS, False)], [Work(2 * MS, False)])
    assert dict(done) == {"a": 5.0, "b": 3.0}, "slices of 1 ms, and no change where both have run equally long"


def test_python_waits_for_the_lock_and_work_without_it_does_not() -> None:
    """The one that holds it is interrupted all the same, but the other cannot begin."""
    assert run_threads([Work(3 * MS)], [Work(2 * MS)]) == [("a", 3.0), ("b", 5.0)]
    assert run_threads([Work(3 * MS)], [Work(2 * MS, False)]) == [("b", 3.0), ("a", 5.0)]


def test_the_lock_changes_hands_where_it_is_let_go_for_a_moment() -> None:
    works: list[Work | Pause] = [Work(1 * MS), RELEASE, Work(1 * MS), RELEASE, Work(1 * MS)]
    assert run_threads(works, [Work(2 * MS)])[1] == ("b", 3.0), "it has run less"
    assert run_threads([Work(1 * MS), Work(1 * MS), Work(1 * MS)], [Work(2 * MS)])[-1] == ("b", 5.0)


def served(policy: Policy, costs: Costs, dues: list[float], seconds: float = 2.0) -> Server:
    server = Server(policy, costs, Draws(costs, 0), dues)
    server.run(seconds, ())
    return server


def test_a_request_alone_takes_the_sum_of_its_costs() -> None:
    costs = EXACT
    (request,) = served(NOW, costs, [0.1]).requests
    steps = costs.head + costs.body + costs.prepare + costs.gather + costs.run(1) + costs.deliver + costs.respond
    assert request.outcome == "full"
    assert steps < request.ended - request.due < steps + 8 * costs.turn


def test_requests_that_come_together_are_given_up_or_answered_and_none_is_lost() -> None:
    found = served(NOW, EXACT, [0.1 + k * 1e-6 for k in range(20)]).requests
    outcomes = [request.outcome for request in found]
    assert {"full", "wait"} <= set(outcomes) <= {"full", "deadline", "wait", "shed"}
    assert all(request.ended - request.due < 0.1 for request in found)


def test_a_run_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    costs, load = Costs(), replace(SHORT, seconds=3.0, poisson=True)
    assert simulate(NOW, costs, load, 1) == simulate(NOW, costs, load, 1) != simulate(NOW, costs, load, 2)


@pytest.fixture(scope="module")
def before() -> Run:
    return simulate(BEFORE, Costs(), SHORT, 0)


def test_the_model_gives_about_what_was_measured(before: Run) -> None:
    """docs/performance.md, Overload: 181 full lists and 247 refusals a second, p50 13.1 ms."""
    assert before.full == pytest.approx(181, rel=0.1)
    assert before.refused == pytest.approx(247, rel=0.1)
    assert before.p50 == pytest.approx(13.1, rel=0.1)
    assert before.deadline + before.wait < 0.15 * before.full


def test_the_service_as_it_is_answers_sooner_than_before_and_gives_more_lists(before: Run) -> None:
    now = simulate(NOW, Costs(), SHORT, 0)
    assert now.p50 < before.p50
    assert now.p99 <= before.p99, "in so short an overload both are those of its beginning"
    assert now.full > before.full
    assert now.deadline < before.deadline
    assert now.back <= 2.0


def test_dearer_refusals_cost_lists() -> None:
    dear = simulate(replace(NOW, refuse=0.6 * MS), Costs(), SHORT, 0)
    assert dear.full < 0.9 * simulate(NOW, Costs(), SHORT, 0).full


def test_below_the_goodput_nothing_is_refused() -> None:
    calm = simulate(NOW, Costs(), Load(factor=0.7, seconds=5.0, around=2.5), 0)
    assert (calm.refused, calm.wait) == (0, 0)
    assert calm.full == pytest.approx(0.7 * 147, rel=0.02)


@pytest.mark.parametrize(
    "policy",
    [
        replace(NOW, since_look=1.0),
        replace(NOW, answer_first=True),
        replace(NOW, bound=True),
        replace(NOW, lead=4 * MS),
    ],
)
def test_every_rule_that_was_tried_changes_something_and_loses_nothing(policy: Policy) -> None:
    load = replace(SHORT, factor=4.0, seconds=2.5)
    dues = arrivals(load.phases, 0, poisson=True)
    runs = []
    for chosen in (NOW, policy):
        server = Server(chosen, Costs(), Draws(Costs(), 0), dues)
        server.run(9.0, neighbours(Costs(), 9.0, 0))
        assert all(request.ended < math.inf for request in server.requests)
        assert not server.admission.in_flight
        runs.append(times_ms(server.requests).tolist())
    assert runs[0] != runs[1]


def test_the_command_prints_a_line_for_each_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--seeds", "1", "--seconds", "1", "--goodput", "60", "--scale", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| policy")
    assert sum(NOW.name in line for line in lines) == 1
