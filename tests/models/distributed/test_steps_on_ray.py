"""Steps by actors of a real cluster, in a network namespace: they make what one process makes, whoever is lost."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.cli import main
from models.evaluation.attempts import LOG_FILE
from models.evaluation.parallel_steps import run_in_parallel
from models.evaluation.step_processes import StepProcesses
from models.evaluation.steps import MARKER, OPTIONS_FILE, is_done, read_marker
from models.evaluation.truth.paths import LISTS_FILE, data_step, fit_step
from models.evaluation.truth.report import REPORT_FILE
from tests.models.distributed.namespace import finished, require_namespace, run, started
from tests.models.distributed.steps_on_ray import FAKES, SAID
from tests.models.distributed.test_on_ray import kill_one
from tests.models.evaluation import parallel_fakes as fakes
from tests.models.evaluation.degre.tiny import TINY, write_simulated

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
MODULE = ("-m", "tests.models.distributed.steps_on_ray")
TRUTH = ("evaluate", "truth", "--profile", "test", "--points", "main", "--only", "base,random,sort-gen")
TRAINS = fit_step("main", "sort", 0)
NOT_RUN = "not run: needs {}, which failed"


@pytest.fixture(autouse=True, scope="module")
def _ray_in_a_namespace() -> None:
    pytest.importorskip("ray")
    require_namespace()


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of experiments that were run on one cluster."""
    folder = tmp_path_factory.mktemp("made-up")
    names = [name for name in FAKES if name != "waits"]
    for name in names:
        (folder / name).mkdir()
    run([*MODULE, str(folder), *names])
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small comparison, by one process of this machine."""
    out = tmp_path_factory.mktemp("here") / "truth"
    assert main([*TRUTH, "--jobs", "1", "--out", str(out)]) == 0
    return out


def require_the_figures_of_one_process(out: Path, here: Path) -> None:
    """Compare the lists, the notes of all steps and the tables."""
    assert results(out) == results(here)


def results(out: Path) -> Mapping[str, Any]:
    lists = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob(LISTS_FILE)}
    notes = {str(path.relative_to(out)): json.loads(path.read_text("utf-8"))["notes"] for path in out.rglob(MARKER)}
    # What stands before them is about the run: its command and its time.
    report = (out / REPORT_FILE).read_text("utf-8").partition("## Targets")[2]
    assert report
    return {**lists, **notes, "report": report}


def said(folder: Path) -> tuple[Mapping[str, str], list[str]]:
    answer = json.loads((folder / SAID).read_text("utf-8"))
    return answer["failures"], answer["said"]


def number(folder: Path, step: str) -> str:
    return (folder / "run" / step / "number").read_text("utf-8")


def test_an_actor_that_is_killed_in_a_step_costs_no_figure(tmp_path: Path, here: Path) -> None:
    out = tmp_path / "truth"
    process = started(["-m", "models.cli", *TRUTH, "--out", str(out), "--ray", "local", "--workers", "1"])
    kill_one(process, "ray::StepActor", (out / TRAINS / OPTIONS_FILE).exists)
    printed = finished(process)
    assert f"{TRAINS}: its process ended on the cluster: " in printed
    marker = read_marker(out, TRAINS)
    assert marker is not None
    assert marker["resumed"]
    require_the_figures_of_one_process(out, here)


@pytest.mark.slow
def test_a_lost_node_costs_no_figure(tmp_path: Path, here: Path) -> None:
    out = tmp_path / "truth"
    module = ["-m", "tests.models.distributed.lost_node", str(out / data_step("main") / MARKER)]
    run([*module, *TRUTH, "--out", str(out)])
    require_the_figures_of_one_process(out, here)


@pytest.mark.slow
def test_actors_make_the_lists_of_degre_that_one_process_makes(tmp_path: Path) -> None:
    data = tmp_path / "sim.parquet"
    data.symlink_to(write_simulated(tmp_path / "v1.parquet"))
    command, options = ["evaluate", "degre", "--data"], [*TINY, "--steps", "data,evaluator,search", "--out"]
    assert main([*command, str(data), *options, str(tmp_path / "here")]) == 0
    command = ["-m", "models.cli", *command, data.as_uri()]
    run([*command, *options, str(tmp_path / "ray"), "--ray", "local", "--workers", "2"])
    found = [
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob(LISTS_FILE)}
        for name in ("here", "ray")
    ]
    assert len(found[0]) > 3
    assert found[0] == found[1]


def test_a_step_that_fails_stops_only_what_needs_it(made_up: Path) -> None:
    folder = made_up / "fails"
    failures, lines = said(folder)
    behind = {name: NOT_RUN.format("fails") for name in ("behind", "far/behind")}
    assert failures == {"fails": "ValueError: the world is not enough", **behind}
    assert [is_done(folder / "run", name) for name in ("first", "beside", "last")] == [True] * 3
    assert lines[-1].endswith("; 0 left")
    log = (folder / "run" / "fails" / LOG_FILE).read_text("utf-8")
    assert "the step says this" in log
    assert "Traceback" in log


def test_a_step_that_kills_its_actor_each_time_has_failed_in_the_end(made_up: Path) -> None:
    failures, _ = said(made_up / "is-killed")
    assert failures["killed"].startswith("its process ended 3 times, at last on the cluster: ")
    assert failures["behind"] == NOT_RUN.format("killed")
    assert number(made_up / "is-killed", "beside") == "2\n"
    log = (made_up / "is-killed" / "run" / "killed" / LOG_FILE).read_text("utf-8")
    assert len([line for line in log.splitlines() if line.endswith(" killed")]) == 3


def test_a_step_that_lost_its_actor_goes_on_where_it_was(made_up: Path) -> None:
    failures, lines = said(made_up / "is-lost-once")
    assert failures == {}
    assert [line.endswith("; is tried again") for line in lines].count(True) == 1
    marker = read_marker(made_up / "is-lost-once" / "run", "lost")
    assert marker is not None
    assert marker["resumed"]
    assert number(made_up / "is-lost-once", "behind") == "321\n"


def test_an_idle_actor_that_is_killed_costs_no_step(made_up: Path) -> None:
    failures, lines = said(made_up / "is-lost-idle")
    assert failures == {}
    assert not any(line.endswith("; is tried again") for line in lines)  # The others may end before its loss is told.
    assert number(made_up / "is-lost-idle", "right") == "1\n"


def test_actors_work_side_by_side_on_one_thread_each(made_up: Path) -> None:
    markers = [read_marker(made_up / "together" / "run", name) for name in ("left", "right")]
    notes = [marker["notes"] for marker in markers if marker is not None]
    assert len({note["process"] for note in notes}) == 2
    assert [note["threads"] for note in notes] == ["1", "1"]


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stopped_run_ends_its_cluster_and_goes_on_to_the_same_result(by: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "waits"
    folder.mkdir()
    process = started([*MODULE, str(tmp_path), "waits"])
    fakes.wait_for(folder / "in-the-middle")
    below = psutil.Process(process.pid).children(recursive=True)
    assert any(child.name().startswith("ray") for child in below)
    process.send_signal(by)
    process.communicate(timeout=280)
    _, alive = psutil.wait_procs(below, timeout=120)
    assert alive == []
    assert not is_done(folder / "run", "second")

    (folder / "go").touch()
    make_steps = FAKES["waits"](folder)
    wanted = [step.name for step in make_steps()]
    assert run_in_parallel(folder / "run", make_steps, wanted, StepProcesses(1)) == {}
    assert number(folder, "third") == "321\n"
