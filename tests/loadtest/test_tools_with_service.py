"""The load tools against the real service: it starts, answers, is measured and stops, and its failures are told."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from loadtest import demo, run
from loadtest.cost import overhead
from loadtest.requests.payloads import only_bundle
from loadtest.rig.server import HOST, ServerError, running_server
from models.contract.manifest import MANIFEST_FILE, Limits
from tests.loadtest.tables import squeezed
from tests.service.tiny_bundle import Options, write_bundle

UNHURRIED = ("--budget-ms", "30000")
"""A budget that no hiccup of the machine exceeds: what is tested here is not the ladder."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    return write_bundle(root, Options(name="demo", limits=Limits(list_length=10, queues=3), groups=32))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.long
def test_a_server_is_ready_inside_the_context_and_gone_after_it(bundle: Path) -> None:
    with running_server(bundle.parents[1], options=UNHURRIED) as server:
        assert _is_alive(server.pid)
        socket.create_connection((HOST, server.port)).close()
    assert not _is_alive(server.pid)


@pytest.mark.long
def test_a_server_is_stopped_when_the_measurement_fails(bundle: Path) -> None:
    pids = []

    def fail() -> None:
        with running_server(bundle.parents[1], options=UNHURRIED) as server:
            pids.append(server.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not _is_alive(pids[0])


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="no such folder"), running_server(tmp_path / "missing"):
        pass


@pytest.mark.long
def test_overhead_measures_both_sizes_and_writes_them_down(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "overhead.json"
    arguments = ["--bundles", str(bundle.parents[1]), "--blocks", "2", "--requests", "10", "--json", str(figures)]
    assert overhead.main(arguments) in (0, 1), "the verdict depends on the machine"
    rows = json.loads(figures.read_text("utf-8"))["rows"]
    assert [(row["candidates"], row["requests"]) for row in rows] == [(100, 20), (1000, 20)]
    assert all(0 < row["infer_p50"] < row["total_p50"] for row in rows)
    assert all(row["tight_p50"] > 0 and row["infer_ratio_low"] <= row["infer_ratio"] for row in rows)
    assert "| 1000 |" in squeezed(capsys.readouterr().out)


@pytest.mark.long
@pytest.mark.parametrize(("flags", "form"), [(["--columns"], "columns"), (["--columns", "--catalogue"], "catalogue")])
def test_overhead_of_another_form_is_measured_beside_that_of_objects(
    bundle: Path, tmp_path: Path, flags: Sequence[str], form: str
) -> None:
    figures = tmp_path / "overhead.json"
    where = ["--bundles", str(bundle.parents[1]), "--candidates", "50", "--items", "200", "--json", str(figures)]
    assert overhead.main([*where, "--blocks", "2", "--requests", "5", *flags]) in (0, 1)
    rows = json.loads(figures.read_text("utf-8"))["rows"]
    assert [(row["form"], row["candidates"]) for row in rows] == [("objects", 50), (form, 50)]
    assert rows[0]["overhead_ratio"] is None
    assert 0 < rows[1]["overhead_ratio_low"] <= rows[1]["overhead_ratio"]
    assert rows[1]["body_kb"] < rows[0]["body_kb"]


@pytest.mark.long
def test_a_budget_that_is_given_wins_over_that_of_measuring(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        overhead.main(["--bundles", str(bundle.parents[1]), "--serve-options", "--budget-ms 0.01"])
    assert "answered" in capsys.readouterr().err


def _load_run(bundle: Path, reports: Path, more: Sequence[str]) -> Path:
    """The folder of a run that passes and was long enough for a request; locust stops at a time, not a number."""
    for seconds in (4, 20, 100):
        folder = reports / str(seconds)
        arguments = ["--bundles", str(bundle.parents[1]), "--reports", str(folder), "--seconds", str(seconds)]
        try:
            assert run.main([*arguments, "--users", "2", "--mix", "20=1,60=1", "--budget-ms", "60000", *more]) == 0
        except SystemExit:
            (made,) = folder.iterdir()
            with pytest.raises(ValueError, match="not one request was sent"):
                run.read_run(made)
        else:
            (made,) = folder.iterdir()
            return made
    pytest.fail("not one request was sent in 100 s")


@pytest.mark.long
@pytest.mark.skipif(find_spec("locust") is None, reason="needs the extra `load`")
def test_a_load_run_keeps_its_report_and_judges_it(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_a_catalogue = ("--form", "catalogue", "--items", "200")
    folder = _load_run(bundle, tmp_path, ("--serve-options", " ".join(UNHURRIED), *of_a_catalogue))
    shown = capsys.readouterr().out
    assert "PASS" in shown
    assert (folder / "report.html").stat().st_size > 1000, "a browser opens it by its ending"
    assert f"report     {folder / 'report.html'}" in shown
    kept = run.read_run(folder)
    assert kept.server is not None
    assert kept.server.outcomes == {"ok": kept.latency.requests}
    assert kept.server.share_within_budget is not None
    assert kept.faults(0.001), "no run is that fast"


def test_several_bundles_need_one_to_be_named(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / "a" / version).mkdir(parents=True)
        (tmp_path / "a" / version / MANIFEST_FILE).touch()
    with pytest.raises(ValueError, match="--bundle: say which"):
        only_bundle(tmp_path)
    with pytest.raises(ValueError, match="there are: none"):
        only_bundle(tmp_path / "empty")


@pytest.mark.long
def test_the_demo_shows_both_orders_queues_values_and_latency(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--bundle", str(bundle)]) == 0
    shown = capsys.readouterr().out
    for setting in demo.SETTINGS:
        assert str(setting) in shown
    assert all(f"  {queue}\n" in shown for queue in ("click", "conversion", "gmv"))
    assert "the model's own estimate" in shown
    before = next(line for line in shown.splitlines() if line.startswith("  as it came")).split()[3:]
    assert before == ["-", "0.759", "-", "0.1792", "-", "6.29"], "the truth does not depend on the bundle"
    assert shown.count("%") == 3 * len(demo.SETTINGS)
    assert "sponsored at 3; at most 2 of a brand in any 5 places" in shown
    assert "0 with it." in shown
    assert "300 requests of 100 candidates" in shown


def test_the_demo_says_which_bundle_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        demo.main(["--bundle", str(tmp_path / "demo" / "1")])
    assert "bundle.json: cannot be read" in capsys.readouterr().err
