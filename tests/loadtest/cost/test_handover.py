"""Handing jobs to an engine process: all are counted, a foreign answer is found, and kills lose none."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.cost.handover.__main__ import main
from loadtest.cost.handover.content import EchoEngine, Rows
from loadtest.cost.handover.crowd import Child, Crowd, Ended, Plan
from loadtest.cost.handover.tally import Histogram, Tally
from loadtest.cost.handover.worker_child import Order, Sender
from models.contract.arrays import Arrays
from models.contract.manifest import DEMO_BUNDLE, Manifest
from service.inference.engine import BatchArrays, EngineError, Job, stack_rows
from service.inference.thread import InferenceThread


@pytest.fixture(scope="module")
def rows() -> Rows:
    return Rows(Manifest.read(DEMO_BUNDLE), 7, width=50)


def answers(engine: EchoEngine, batch: list[Arrays]) -> list[Arrays]:
    outputs = engine.run(stack_rows(batch))
    return [{name: array[i] for name, array in outputs.items()} for i in range(len(batch))]


def test_every_row_gets_its_own_answer_in_a_batch_and_alone(rows: Rows) -> None:
    numbers = [3, 4, 67]  # The first and the last have the same arrays.
    for number, answer in zip(numbers, answers(EchoEngine(), [rows.make(n) for n in numbers]), strict=True):
        assert rows.problem(number, answer) is None
    assert rows.problem(5, answers(EchoEngine(), [rows.make(5)])[0]) is None


def test_the_answer_of_another_job_or_asker_is_swapped(rows: Rows) -> None:
    first, second = answers(EchoEngine(), [rows.make(3), rows.make(67)])
    assert rows.problem(3, second) == "swapped"
    assert rows.problem(67, first) == "swapped"
    other = Rows(Manifest.read(DEMO_BUNDLE), 8, width=50)
    assert other.problem(3, first) == "swapped"


def test_one_changed_number_is_wrong(rows: Rows) -> None:
    row = rows.make(3)
    changed = {**row, "item_ids": row["item_ids"] + np.eye(40, 2, dtype=np.int64)}
    assert rows.problem(3, answers(EchoEngine(), [changed])[0]) == "wrong"
    (answer,) = answers(EchoEngine(), [row])
    for name in answer.keys() - {"stamp"}:
        assert rows.problem(3, {**answer, name: np.zeros_like(answer[name])}) == "wrong", name
        assert rows.problem(3, {key: array for key, array in answer.items() if key != name}) == "wrong", name


def test_values_of_another_asker_are_wrong(rows: Rows) -> None:
    other = Rows(Manifest.read(DEMO_BUNDLE), 8, width=50)
    (own,), (foreign,) = answers(EchoEngine(), [rows.make(3)]), answers(EchoEngine(), [other.make(3)])
    assert rows.problem(3, {**own, "score": foreign["score"]}) == "wrong"


def test_times_are_kept_to_two_percent_in_the_same_memory() -> None:
    drawn = np.random.default_rng(0).lognormal(-8, 1.5, 5000)
    whole, half = Histogram(), Histogram()
    for place, seconds in enumerate(drawn.tolist()):
        (whole if place % 2 else half).add(seconds)
    whole.merge(Histogram.from_json(json.loads(json.dumps(half.to_json()))))
    assert whole.count == len(drawn)
    for q in (0.5, 0.99, 1.0):
        assert whole.quantile(q) == pytest.approx(np.quantile(drawn, q, method="inverted_cdf"), rel=0.02)
    for extreme in (0.0, -1.0, 1e9):
        whole.add(extreme)
    assert whole.count == len(drawn) + 3
    with pytest.raises(ValueError, match="no job was answered"):
        Histogram().quantile(0.5)


def test_tallies_add_up() -> None:
    whole = Tally(answered=5, failed=1)
    whole.merge(Tally.from_json(Tally(answered=1, failed=2, swapped=3, wrong=4, lost=5).to_json()))
    assert whole.counts() == {"answered": 6, "failed": 3, "swapped": 3, "wrong": 4, "lost": 5}
    assert (whole.jobs, whole.settled, whole.bad) == (21, 18, 12)


class Failing(EchoEngine):
    """Fails every run."""

    def run(self, _: BatchArrays) -> Arrays:
        raise EngineError("not today")


class Forgetful(InferenceThread):
    """Forgets the third job."""

    def submit(self, job: Job) -> None:
        number = int(job.row["stamp"][1])
        if number != 2:
            super().submit(job)


@pytest.mark.parametrize(
    ("queue", "engine", "expected"),
    [
        (InferenceThread, EchoEngine(), {"answered": 9, "failed": 0, "lost": 0}),
        (InferenceThread, Failing(), {"answered": 0, "failed": 9, "lost": 0}),
        (Forgetful, EchoEngine(), {"answered": 8, "failed": 0, "lost": 1}),
    ],
)
def test_jobs_are_counted_by_how_they_end(
    rows: Rows,
    queue: type[InferenceThread],
    engine: EchoEngine,
    expected: dict[str, int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    thread = queue()
    asyncio.run(Sender(rows, {"thread": (thread, engine)}, 0.5).carry_out(Order("thread", 3, 9)))
    thread.close()
    whole, lines = Tally(), capsys.readouterr().out.splitlines()
    for line in lines:
        whole.merge(Tally.from_json(json.loads(line)["tally"]))
    assert whole.counts() == {"swapped": 0, "wrong": 0, **expected}
    assert whole.times.count == expected["answered"]
    assert [json.loads(line)["last"] for line in lines] == [False] * (len(lines) - 1) + [True]


def test_both_ways_are_measured_and_every_job_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert main(["--count", "240", "--links", "2", "--in-flight", "1", "8", "--out", str(file)]) == 0
    figures = json.loads(file.read_text("utf-8"))
    assert [(row["way"], row["in_flight"]) for row in figures["rows"]] == [
        *(("link", 1), ("thread", 1)),
        *(("link", 8), ("thread", 8)),
    ]
    for row in figures["rows"]:
        assert (row["answered"], row["failed"], row["swapped"], row["wrong"], row["lost"]) == (120, 0, 0, 0, 0)
        assert 0 < row["p50_us"] <= row["p99_us"]
    assert 9_000 < figures["row_bytes"] < 11_000
    shown = capsys.readouterr().out
    assert "through the engine process: 240 answered, 0 failed, 0 swapped, 0 wrong, 0 lost" in shown
    assert shown.endswith("verdict: every job got its own answer or an error\n")


def test_swapped_answers_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "60", "--links", "1", "--in-flight", "4", "--spoil", "3"]) == 1
    shown = capsys.readouterr().out
    assert "0 wrong, 0 lost" in shown
    assert shown.rstrip().endswith(" swapped")


@pytest.mark.long
def test_kills_of_either_side_lose_and_swap_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert main(["--count", "2000", "--kill", "--every", "0.5", "--in-flight", "8", "--out", str(file)]) == 0
    figures = json.loads(file.read_text("utf-8"))
    (row,) = figures["rows"]
    assert (row["lost"], row["swapped"], row["wrong"]) == (0, 0, 0)
    assert row["answered"] >= 2000, "jobs that failed do not count"
    assert min(figures["kills"]["engine"], figures["kills"]["worker"]) >= 1
    assert "killed with SIGKILL: " in capsys.readouterr().out


class Told(Child):
    """A worker that tells what it is to tell, and then ends."""

    def __init__(self, *reports: dict[str, Any]) -> None:
        self._reports = list(reports)
        self.orders: list[Order] = []

    def tell(self, order: Order) -> None:
        self.orders.append(order)

    async def line(self) -> dict[str, Any]:
        if not self._reports:
            raise Ended
        return self._reports.pop(0)

    async def end(self) -> None:
        pass


def report(tally: Tally, oldest: float | None, *, last: bool = False) -> dict[str, Any]:
    return {"last": last, "tally": tally.to_json(), "oldest": oldest}


def crowd_of(monkeypatch: pytest.MonkeyPatch, workers: list[Told]) -> Crowd:
    """A crowd with one place, which these workers have one after the other."""
    crowd, left = Crowd(Plan(Path("none"), Path("none"), links=1, width=1, may_end=True)), iter(workers)

    async def start(_: str) -> Told:
        return next(left)

    monkeypatch.setattr(crowd, "_start", start)
    crowd._workers.append(next(left))
    return crowd


@pytest.mark.parametrize(("oldest", "lost"), [(1e3, 1), (0.0, 0), (None, 0)])
def test_an_old_job_of_a_killed_worker_is_lost(
    oldest: float | None, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, after = Told(report(Tally(answered=2), oldest)), Told(report(Tally(answered=3 - lost), None, last=True))
    crowd = crowd_of(monkeypatch, [killed, after])
    tally = asyncio.run(crowd.send(Order("link", 4, 5), Tally()))
    assert (tally.answered, tally.lost) == (5 - lost, lost)


def test_under_kills_jobs_that_failed_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = [report(Tally(answered=2, failed=3), 0.1, last=True), report(Tally(answered=3), None, last=True)]
    worker = Told(*reports)
    tally = asyncio.run(crowd_of(monkeypatch, [worker]).send(Order("link", 4, 5), Tally()))
    assert [order.jobs for order in worker.orders] == [5, 3]
    assert (tally.answered, tally.failed) == (5, 3)


def test_a_fault_is_reported_before_the_next_job(rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    thread = InferenceThread()
    sender = Sender(rows, {"thread": (thread, EchoEngine(spoil=2))}, 60)
    asyncio.run(sender.carry_out(Order("thread", 1, 4)))
    thread.close()
    reports = [Tally.from_json(json.loads(line)["tally"]).counts() for line in capsys.readouterr().out.splitlines()]
    told = [found for found in reports if found["swapped"]]
    assert [found["swapped"] for found in told] == [1, 1], "the second and the fourth, each in a report of its own"


@pytest.mark.parametrize("wrong", [["--count", "0"], ["--links", "0"], ["--in-flight", "0"], ["--every", "0"]])
def test_a_wrong_option_is_named(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(wrong)
    assert "must be positive" in capsys.readouterr().err


def test_a_side_that_does_not_start_ends_the_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--count", "10", "--bundle", str(tmp_path)])
    assert "a worker has ended before it was ready" in capsys.readouterr().err
