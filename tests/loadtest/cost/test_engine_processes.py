"""Workers that share an engine: layouts are compared, foreign answers found, and kills lose and swap none."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from loadtest.cost.engine_processes.__main__ import faults_of, kill_faults, main
from loadtest.cost.engine_processes.contents import Contents, Expected
from loadtest.cost.engine_processes.serving import Kill
from loadtest.cost.engine_processes.sleeping import SleepingEngine, choose, numbers_of
from loadtest.requests.payloads import Payload, PayloadOptions, from_bundle, make_payloads
from loadtest.rig.openloop.build import why_unavailable
from loadtest.rig.openloop.window import Fault
from models.contract.arrays import Arrays
from models.contract.manifest import DEMO_BUNDLE
from tests.loadtest.tables import squeezed
from tests.loadtest.windows import Made, refused, window_of

needs_client = pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))


def batch(*prices: list[float]) -> Arrays:
    numbers = np.array(prices, np.float32)
    return {"price": numbers, "valid": numbers > 0}


def test_a_list_is_of_the_first_valid_slots_in_the_order_of_their_numbers() -> None:
    row = batch([0, 3, 5, 0, 4, 9])
    assert choose(row["valid"], numbers_of(row), 3).tolist() == [[2, 4, 1]]
    assert choose(row["valid"], numbers_of(row), 9).tolist() == [[5, 2, 4, 1, *[-1] * 5]]
    several = batch([0, 3, 5, 0, 4, 9], [0, 0, 0, 0, 0, 7], [0] * 6, [1, 1, 1, 1, 1, 1])
    assert choose(several["valid"], numbers_of(several), 3).tolist() == [
        *([2, 4, 1], [5, -1, -1]),
        *([-1, -1, -1], [0, 1, 2]),
    ]
    vectors = np.stack([row["price"], np.negative(row["price"])], axis=2)
    assert choose(row["valid"], vectors, 3).tolist() == [[2, 4, 1]], "the first number of a slot decides"
    with pytest.raises(ValueError, match="takes none of price, priors, item_scores"):
        numbers_of({"valid": row["valid"]})


def test_the_engine_answers_each_row_by_that_rule() -> None:
    answer = SleepingEngine(3, 8, seconds=0).run(batch([1, 2, 3, 4], [4, 0, 0, 5], [9, 8, 7, 6]))
    assert answer["order"].tolist() == [[2, 1, 0], [3, 0, -1], [0, 1, 2]]
    assert answer["value"].shape == (3, 3, 3)


def test_a_spoilt_run_swaps_answers_in_a_batch_and_between_runs() -> None:
    engine = SleepingEngine(2, 8, seconds=0, spoil=2)
    pair, single = batch([1, 2], [2, 1]), batch([2, 1])
    assert engine.run(pair)["order"].tolist() == [[1, 0], [0, 1]]
    assert engine.run(pair)["order"].tolist() == [[0, 1], [1, 0]]
    assert engine.run(batch([1, 2]))["order"].tolist() == [[1, 0]]
    assert engine.run(single)["order"].tolist() == [[1, 0]], "that of the run before"


@pytest.fixture(scope="module")
def payloads() -> list[Payload]:
    return make_payloads(from_bundle(DEMO_BUNDLE, seed=0), PayloadOptions(count=3, sizes={60: 1.0}))


@pytest.fixture(scope="module")
def expected(payloads: list[Payload]) -> Expected:
    return Expected(DEMO_BUNDLE, payloads)


def answer(
    payload: Payload, ids: list[str], *, request: str = "load-0", degraded: object = None, second: float = 0.0
) -> Made:
    """The answer to a request with these ids."""
    items = [{"id": name, "index": payload.ids.index(name), "position": n} for n, name in enumerate(ids, 1)]
    table = {"request_id": request, "version": "1", "items": items, "degraded": degraded}
    return Made(second, body=json.dumps(table).encode())


def test_answers_are_told_apart_by_their_content(payloads: list[Payload], expected: Expected) -> None:
    request, own = expected.lists[0]
    assert request == "load-0"
    assert len(own) == 10
    formula = {"reason": "model-error", "level": "formula"}
    window = window_of(
        [
            answer(payloads[0], own),
            answer(payloads[0], [own[1], own[0], *own[2:]]),
            answer(payloads[0], own, request="load-1"),
            answer(payloads[0], own[::-1], degraded=formula),
            answer(payloads[0], own[:9]),
            refused(0.0),
            Made(0.0, fault=Fault.RESET),
            Made(0.0, fault=Fault.TIMEOUT),
        ],
        1.0,
    )
    found = expected.check(window)
    assert (found.requests, found.full, found.swapped, found.cut) == (8, 1, 2, 1)
    assert found.degraded == {"model-error/formula": 1}
    assert found.statuses == {200: 5, 503: 1}
    assert found.faults == {"has 9 items instead of 10": 1, "no answer: timeout": 1}
    whole = Contents()
    whole.merge(found)
    whole.merge(found)
    assert whole.to_json()["faults"] == {"has 9 items instead of 10": 2, "no answer: timeout": 2}
    assert (whole.requests, whole.statuses[200]) == (16, 10)


def test_requests_of_one_list_are_refused(payloads: list[Payload]) -> None:
    with pytest.raises(ValueError, match="the same list"):
        Expected(DEMO_BUNDLE, [payloads[0], payloads[0]])


KILLS = [Kill("engine", 10.0), Kill("worker", 20.0)]


@pytest.mark.parametrize(
    ("found", "broken", "faults"),
    [
        (Contents(20, full=9, cut=2, degraded=Counter({"model-error/formula": 9})), [20.1, 20.2], []),
        (Contents(1, swapped=1), [], ["1 swapped"]),
        (
            Contents(7, full=5, statuses=Counter({200: 5, 503: 2})),
            [],
            ["2 answers of status 503", "2 of 7 requests ended otherwise"],
        ),
        (
            Contents(1, faults=Counter({"no answer: timeout": 1})),
            [20.1],
            ["1 × no answer: timeout", "1 of 1 requests ended otherwise"],
        ),
        (Contents(3, full=2, statuses=Counter({200: 2, 429: 1})), [], ["1 of 3 requests ended otherwise"]),
        (Contents(1, cut=1), [19.9], ["1 connections ended though their worker was not killed"]),
        (Contents(1, cut=1), [10.1], ["1 connections ended though their worker was not killed"]),
        (Contents(5, cut=5), [20.1] * 5, ["5 connections ended, more than 1 workers held"]),
    ],
)
def test_under_kills_only_connections_of_killed_workers_may_end(
    found: Contents, broken: list[float], faults: list[str]
) -> None:
    assert kill_faults(found, KILLS, broken, in_flight=4) == faults


def test_without_kills_every_status_but_200_is_a_fault() -> None:
    found = Contents(6, full=3, statuses=Counter({200: 3, 429: 1, 503: 2}))
    assert faults_of(found) == ["1 answers of status 429", "2 answers of status 503"]
    assert faults_of(Contents(3, full=3, statuses=Counter({200: 3}))) == []


@pytest.mark.long
@needs_client
def test_layouts_are_compared_and_every_answer_is_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    short = ["--requests", "10", "--seconds", "0.4", "--in-flight", "6", "--candidates", "50"]
    assert main(["--workers", "2", *short, "--json", str(file)]) == 0
    figures = json.loads(file.read_text("utf-8"))
    assert [row["layout"] for row in figures["rows"]] == ["one process", "2 workers, 1 engine process"]
    for row in figures["rows"]:
        contents = row["contents"]
        assert contents["requests"] == contents["full"] == contents["statuses"]["200"] >= 10
        assert (contents["swapped"], contents["cut"], contents["faults"], contents["degraded"]) == (0, 0, {}, {})
        assert len(row["rates"]) >= 3
        assert all(0 < share <= 1 for share in row["busiest_shares"])
        assert sum(row["batches"].values()) >= contents["requests"]
    assert figures["rows"][0]["ratio"]["median"] == 1
    shown = squeezed(capsys.readouterr().out)
    assert "| 2 workers, 1 engine process |" in shown
    assert shown.endswith("verdict: every answer is the list of its own request\n")


@pytest.mark.long
@needs_client
def test_swapped_answers_are_found_in_each_layout(capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--requests", "10", "--seconds", "0.4", "--in-flight", "6", "--candidates", "50"]
    assert main(["--workers", "1", *short, "--spoil", "2"]) == 1
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert verdict.startswith("verdict: one process: ")
    assert verdict.count(" swapped") == 2


@pytest.mark.long
@needs_client
def test_kills_of_workers_and_engine_processes_lose_and_swap_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    short = ["--requests", "50", "--seconds", "1", "--in-flight", "6", "--candidates", "50", "--every", "2"]
    assert main(["--workers", "2", "--kill", *short, "--json", str(file)]) == 0
    figures = json.loads(file.read_text("utf-8"))
    assert {kill["kind"] for kill in figures["kills"]} == {"engine", "worker"}
    contents = figures["contents"]
    assert (contents["swapped"], contents["faults"]) == (0, {})
    assert set(contents["statuses"]) == {"200"}
    assert contents["full"] + sum(contents["degraded"].values()) + contents["cut"] == contents["requests"] >= 50
    assert capsys.readouterr().out.endswith("verdict: none was lost or swapped\n")


def test_a_wrong_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--in-flight", "0"])
    assert "must be at least 1" in capsys.readouterr().err
