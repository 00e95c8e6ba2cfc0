"""Machines for a demand: what is left without a zone, caches, retraining, and values that are refused."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from loadtest.scale import figures as f
from loadtest.scale import offline, online
from loadtest.scale.__main__ import main
from loadtest.scale.demand import Demand, DemandError, option
from loadtest.scale.markdown import number, size, table, time
from loadtest.scale.tables import TABLES
from tests.documents import ROOT

SCALE = (ROOT / "docs" / "scale.md").read_text("utf-8")


def test_a_fleet_by_hand() -> None:
    found = online.fleet(Demand(requests_per_second=1000, utilisation=0.5, zones=3), 100.0)
    assert (found.each_zone, found.hosts) == (10, 30)
    assert found.load(1000, 30) == pytest.approx(1 / 3)


@pytest.mark.parametrize("zones", [2, 3, 5])
@pytest.mark.parametrize("rate", [1.0, 999.0, 1e6, 3.3e7])
def test_the_zones_that_are_left_carry_the_demand_and_no_host_is_too_many(zones: int, rate: float) -> None:
    demand = Demand(requests_per_second=rate, zones=zones)
    for found in (online.gpu_fleet(demand), online.cpu_fleet(demand), online.balancers(demand, f.REQUEST_BYTES)):
        left = found.hosts - found.each_zone
        assert found.load(rate, left) <= demand.utilisation
        fewer = left - (zones - 1)
        assert fewer <= 0 or found.load(rate, fewer) > demand.utilisation


def test_a_host_is_as_fast_as_the_slower_of_engine_and_workers() -> None:
    demand = Demand()
    assert online.gpu_fleet(demand).host_rate == online.engine_rate(demand.engine_hand_over_us)
    few = Demand(cores_per_gpu=4)
    assert online.gpu_fleet(few).host_rate == pytest.approx(3 / online.worker_seconds(few.worker_hand_over_us))
    assert online.workers_per_gpu(demand) < demand.cores_per_gpu


def test_the_engine_breaks_even_where_both_kinds_of_host_are_as_fast() -> None:
    even = online.break_even_us(Demand())
    assert even > 0
    at = Demand(engine_hand_over_us=even)
    assert online.gpu_fleet(at).host_rate == pytest.approx(online.cpu_fleet(at).host_rate)
    many = Demand(cores_per_gpu=64)
    assert online.break_even_us(many) < 0
    assert online.cpu_fleet(many).host_rate > online.gpu_fleet(many).host_rate
    assert "| none | hosts without are faster |" in TABLES["machines"](many)


def test_a_hand_over_beside_the_runs_is_bound_by_the_slower_of_both() -> None:
    slow, quick = Demand(engine_hand_over_us=100.0), Demand(engine_hand_over_us=0.0)
    assert online.gpu_fleet(slow, beside=True).host_rate == pytest.approx(10_000)
    assert online.engine_rate_beside(quick) == online.engine_rate()
    assert online.engine_rate(100.0) < online.engine_rate_beside(slow)


def test_balancers_are_counted_by_network_or_by_requests() -> None:
    demand = Demand()
    by_network = online.balancers(demand, f.REQUEST_BYTES)
    assert by_network.host_rate * (16_300 + 125 + 1_199) * 8 == pytest.approx(100e9)
    small = f.Figure("a small body", 100, "B", "assumed", "a test")
    assert online.balancers(demand, small).host_rate == f.BALANCER.value


def test_values_that_all_ask_for_are_asked_of_redis_once_a_time_to_live() -> None:
    busy = Demand(items=100, popularity=0.0)
    assert online.misses(busy, 1e7) == pytest.approx(100 / f.LIVE_TTL.value, rel=1e-3)
    rare = Demand(items=1e9, popularity=0.0)
    assert online.misses(rare, 10.0) == pytest.approx(10.0, rel=1e-3)


def test_misses_are_the_sum_over_all_items() -> None:
    """Of ranks one by one, where the plan puts them in bins."""
    demand, rate = Demand(items=200_000, popularity=1.0), 50_000.0
    weights = 1 / np.arange(1.0, 200_001.0)
    rates = rate * weights / weights.sum()
    assert online.misses(demand, rate) == pytest.approx((rates / (1 + rates * f.LIVE_TTL.value)).sum(), rel=0.005)


def test_live_values_can_be_off_and_each_field_asks() -> None:
    assert online.live(Demand(live_fields=0), 100) == online.LiveLoad(0, 0, 0, f.LIVE_TTL.value, 0, 0)
    price, both = (online.live(Demand(live_fields=fields), 100) for fields in (1, 2))
    assert (price.asked, both.asked) == (1e8, 1.3e8)
    assert price.missed < both.missed <= both.asked


def test_copies_of_redis_carry_the_demand_without_a_zone() -> None:
    demand = Demand()
    found = online.live(demand, 3_000)
    cores = found.missed * f.REDIS_VALUE.value * 1e-6 / demand.utilisation
    assert found.copies % 3 == 0
    assert found.copies * 2 / 3 >= cores > (found.copies - 3) * 2 / 3


def test_a_worker_keeps_values_for_less_time_where_they_are_too_many() -> None:
    few = online.live(Demand(popularity=0.6), 5_000)
    assert (few.kept_for, few.kept < f.LIVE_KEPT.value) == (f.LIVE_TTL.value, True)
    full = online.live(Demand(popularity=0.6), 500)
    assert full.kept == pytest.approx(f.LIVE_KEPT.value)
    assert full.kept_for < f.LIVE_TTL.value
    assert full.kept == pytest.approx(full.missed / 500 * full.kept_for)
    prices, features = (online.misses(Demand(popularity=0.6), n * 2_000, full.kept_for) for n in (100, 30))
    assert full.missed == pytest.approx(500 * (prices + features))


def test_a_catalogue_grows_with_its_items() -> None:
    one, two = (online.catalogue(Demand(items=items), 10) for items in (1e6, 2e6))
    assert one.size == pytest.approx(303 * 2**20)
    assert (two.build, two.checks, two.rollout) == pytest.approx((2 * one.build, 2 * one.checks, 2 * one.rollout))
    assert one.rollout == pytest.approx(10 * one.size)


def test_enough_processes_for_the_window_and_not_one_too_many() -> None:
    demand = Demand(retraining_lists=3e8, hours=8)
    found = offline.training(demand)
    assert found.processes is not None
    steps = found.cpu - found.each_reads
    assert found.each_reads + steps / found.processes <= 8 * 3600 < found.each_reads + steps / (found.processes - 1)
    assert found.cpu == pytest.approx(3e8 * 444e-6)


def test_no_number_of_processes_reads_more_than_one_can() -> None:
    most = offline.training(Demand()).most
    assert offline.training(Demand(retraining_lists=most * 0.99)).processes is not None
    beyond = offline.training(Demand(retraining_lists=most * 1.01))
    assert (beyond.processes, beyond.cpu_of_all, beyond.arrays) == (None, None, None)


def test_lists_and_mining_by_hand() -> None:
    demand = Demand(lists_per_month=2_592_000, requests_per_second=100, mined_requests=3.6e4, hours=1)
    found = offline.lists(demand, f.LIST_BYTES)
    assert (found.per_second, found.share, found.bytes_a_month) == pytest.approx((1.0, 0.01, 2_592_000 * 570))
    assert offline.mining(demand, f.MINE_BEAM).cpu == pytest.approx(3.6 * 62.4)
    assert offline.mining(demand, f.MINE_BEAM).actors == 1
    assert demand.trained == 2_592_000 / 30


@pytest.mark.parametrize("name", [field.name for field in fields(Demand) if field.name != "months_kept"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_value_that_cannot_be_is_refused_by_its_option(name: str, value: float) -> None:
    with pytest.raises(DemandError, match=rf"^{option(name)}: must be "):
        Demand(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--utilisation 1", "--utilisation: must be between 0 and 1, not 1"),
        ("--zones 1", "--zones: must be at least 2, not 1"),
        ("--hours 0", "--hours: must be above 0, not 0"),
    ],
)
def test_the_command_names_what_is_wrong(words: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"loadtest.scale: {problem}\n")


def test_what_is_no_number_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--items", "many"])
    assert "--items" in capsys.readouterr().err


def test_the_command_plans_for_the_demand_that_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--table", "machines", "--requests-per-second", "10", "--zones", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("<!-- table: machines -->\n\n|  | number | how |\n|---|---:|---|\n")
    assert "| **hosts of a GPU and 16 cores** | 2: 1 a zone" in out


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_tables_that_the_command_prints(name: str) -> None:
    """Run ``python -m loadtest.scale`` and copy its tables where this fails."""
    assert f"<!-- table: {name} -->\n\n{TABLES[name](Demand())}\n\n" in SCALE


def test_the_page_marks_no_other_table() -> None:
    assert SCALE.count("<!-- table: ") == len(TABLES)


def test_numbers_as_people_read_them() -> None:
    written = [number(value) for value in (0, 0.00386, 13.8, 144.2, 18_636, 6.36e7, 1e10)]
    assert written == ["0", "0.00386", "13.8", "144", "18,636", "63.6 million", "10 billion"]
    assert [size(value) for value in (570, 3.18e10, 4.58e12)] == ["570 B", "31.8 GB", "4.58 TB"]
    assert [time(value) for value in (43.62, 720, 13_320)] == ["43.6 s", "12 min", "3.7 h"]
    assert table(("", "b", "how"), [("c", "1", "d")]) == "|  | b | how |\n|---|---:|---|\n| c | 1 | d |"
