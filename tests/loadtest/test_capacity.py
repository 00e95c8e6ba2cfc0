"""A plan follows from the costs, and the command that makes one says what it found and refuses what does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.capacity import fit_batch_time
from loadtest.capacity import Costs, Worker, largest_batch, make_plan, spread_of
from loadtest.plan import Measured
from models import cli
from models.contract.manifest import Limits
from tests.service.tiny_bundle import Options, write_bundle

COSTS = Costs(fixed=0.0008, each=0.0006, outside=0.0005)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    return write_bundle(root, Options(name="planned", limits=Limits(list_length=10, queues=3)))


def test_one_cpu_pays_for_loop_and_engine_and_two_for_the_dearer_of_them() -> None:
    one = make_plan(COSTS, Worker(cpus=1), host_cpus=4)
    assert one.capacity == pytest.approx(8 / (0.0008 + 8 * 0.0011))
    two = make_plan(COSTS, Worker(cpus=2), host_cpus=4)
    assert two.capacity == pytest.approx(8 / (0.0008 + 8 * 0.0006))
    assert one.safe_rate < two.safe_rate
    slow_loop = make_plan(replace(COSTS, outside=0.004), Worker(cpus=2), host_cpus=4)
    assert slow_loop.capacity == pytest.approx(250)


def test_workers_are_as_many_as_there_are_cpus_and_enough_for_a_rate() -> None:
    plan = make_plan(COSTS, Worker(cpus=1), host_cpus=5, rate=1000)
    assert plan.workers == 5
    assert plan.host_rate == pytest.approx(5 * plan.safe_rate)
    assert plan.workers_for_rate is not None
    assert (plan.workers_for_rate - 1) * plan.safe_rate < 1000 <= plan.workers_for_rate * plan.safe_rate
    assert make_plan(COSTS, Worker(cpus=2), host_cpus=5).workers == 2
    assert make_plan(COSTS, Worker(), host_cpus=1).workers_for_rate is None
    assert plan.utilisation == pytest.approx(plan.safe_rate / plan.capacity)


@pytest.mark.parametrize(
    ("worker", "expected"),
    [
        (Worker(max_batch=32), 7),  # 2 · (0.8 + 7 · 1.1) = 17.0 ms, with 8 it is 19.2
        (Worker(max_batch=4), 4),
        (Worker(max_batch=32, cpus=2), 14),  # 2 · (0.8 + 14 · 0.6) + 0.5 = 18.9 ms
        (Worker(max_batch=32, reserve=0.002), 7),  # just fits
        (Worker(max_batch=32, reserve=0.0021), 6),
        (Worker(max_batch=32, budget=0.0017), 0),
    ],
)
def test_the_largest_batch_leaves_time_for_one_run_to_wait_for(worker: Worker, expected: int) -> None:
    assert largest_batch(COSTS, worker) == expected


def test_spread_and_reserve_are_taken_from_the_budget() -> None:
    calm = make_plan(COSTS, Worker(), host_cpus=1).safe_rate
    shaky = make_plan(replace(COSTS, spread=(0.0,) * 90 + (0.008,) * 10), Worker(), host_cpus=1).safe_rate
    assert shaky < calm
    assert make_plan(COSTS, Worker(reserve=0.004), host_cpus=1).safe_rate < calm


def test_spread_is_what_goes_beyond_the_median() -> None:
    assert spread_of([3.0, 1.0, 2.0, 9.0, 2.0]) == pytest.approx((1.0, 0.0, 0.0, 7.0, 0.0))


def test_a_run_inside_the_service_is_dearer_by_what_its_thread_used_whatever_the_batch() -> None:
    engine = fit_batch_time({n: [0.001 + 0.0005 * n] for n in (1, 2, 4)})
    measured = Measured(
        engine, engine_alone=0.0018, engine_loaded=0.001, loop_alone=0.0007, loop=0.0006, closed_rate=1, times=(0.003,)
    )
    costs = measured.costs()
    assert (costs.fixed, costs.each, costs.outside) == pytest.approx((0.0013, 0.0005, 0.0006))
    assert replace(measured, engine_alone=0.001).costs().fixed == pytest.approx(0.001), "never cheaper than alone"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cpus": 3}, "--cpus: .* 1 or 2 CPUs, not 3"),
        ({"max_batch": 0}, "--max-batch: must be at least 1, not 0"),
        ({"reserve": 0.019}, "--reserve-ms: .* under the budget of 19 ms, not 19"),
    ],
)
def test_a_worker_that_cannot_be_is_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Worker(**change)


def test_a_rate_that_nothing_can_serve_is_refused() -> None:
    with pytest.raises(ValueError, match="--rate: must be positive"):
        make_plan(COSTS, Worker(), host_cpus=1, rate=0)
    slow = Costs(0.03, 0.001, 0.001)
    assert make_plan(slow, Worker(), host_cpus=1).safe_rate == 0
    with pytest.raises(ValueError, match="no number of workers keeps 19 ms"):
        make_plan(slow, Worker(), host_cpus=1, rate=10)


def test_the_command_prints_fit_costs_and_plan_and_writes_them_down(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "plan.json"
    sizes = ["--blocks", "2", "--runs", "5", "--max-batch", "4", "--candidates", "30", "--budget-ms", "80"]
    assert cli.main(["bench", "--plan", "--bundle", str(bundle), *sizes, "--rate", "1", "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    report = json.loads(figures.read_text("utf-8"))
    assert sorted(report["engine"]["measured"]) == ["1", "2", "3", "4"]
    assert all(report["service"][name] > 0 for name in ("engine_alone", "engine_loaded", "loop", "closed_rate"))
    assert 0 < report["plan"]["safe_rate"] <= report["plan"]["capacity"]
    assert report["plan"]["workers_for_rate"] == 1
    for part in ("T(batch) =", "R²", "| 4 |", "outside the engine", "largest batch that fits", "for 1 requests/s: 1 "):
        assert part in printed, part
    assert f"**{report['plan']['safe_rate']:.0f} requests/s**" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rate", "5"], "--rate: does nothing without --plan"),
        (["--bundle", "x"], "--bundle: does nothing without --plan"),
        (["--plan", "--long", "20"], "--long: does nothing with --plan"),
        (["--plan", "--bundle", "x", "--dim", "8"], "--dim: does nothing with --bundle"),
        (["--plan", "--family", "degre"], "--family: random weights are SORT-Gen's"),
        (["--plan", "--cpus", "0"], "--cpus: "),
        (["--plan", "--blocks", "0"], "--blocks: must be at least 1"),
        (["--plan", "--bundle", "no/such/bundle"], "bundle.json"),
        (["--plan", "--candidates", "0"], "sizes"),
    ],
)
def test_an_option_that_is_wrong_or_would_do_nothing_is_named(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert cli.main(["bench", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_plan_for_a_bundle_needs_neither_pytorch_nor_onnx(bundle: Path) -> None:
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "pyarrow"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from models.cli import main
small = ["--blocks", "1", "--runs", "1", "--candidates", "20"]
print(main(["bench", "--plan", "--bundle", {str(bundle)!r}, *small]))
try:
    main(["bench", "--blocks", "1"])
except SystemExit as end:
    print(end)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, refusal = done.stdout.splitlines()[-2:]
    assert status == "0"
    assert "listwright bench: needs" in refusal
    assert "pip install" in refusal


def test_a_simulation_keeps_the_budget_just_under_the_planned_rate() -> None:
    plan = make_plan(COSTS, Worker(), host_cpus=1)
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(1 / (0.95 * plan.safe_rate), 100_000))
    waiting, clock, late, i = 0, 0.0, 0, 0
    while i < len(times):
        clock = max(clock, times[i])
        waiting = min(8, int(np.searchsorted(times, clock, side="right")) - i)
        clock += 0.0008 + 0.0011 * waiting
        late += int((clock - times[i : i + waiting] > 0.019).sum())
        i += waiting
    assert late / len(times) < 0.01
