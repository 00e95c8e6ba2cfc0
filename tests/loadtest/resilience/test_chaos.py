"""The chaos runner: each judgement can fail, and the quickest faults are injected into real services."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.resilience.chaos import __main__ as chaos
from loadtest.resilience.chaos.harness import account, sample_sum, wait
from loadtest.resilience.chaos.scenario import HEAD, Memory, Outcome, Scenario, Skipped, Trial
from loadtest.resilience.chaos.steady import Seen, SteadyClient, lost, recovery, unexpected
from loadtest.resilience.chaos.traps import HANG, TRIGGERS, copy_as, crashing, garbage, hanging, nonsense, truncated
from loadtest.rig.server import ServerError
from models.contract.manifest import MODEL_FILE, Manifest
from models.files import file_digest
from tests.documents import ROOT

QUIET = Memory(100.0, 120.0)


def make_trial(folder: Path) -> Trial:
    return Trial(folder, folder / "cache", random.Random(0))


def make_scenario(act: Callable[[Trial], None], name: str = "made-up") -> Scenario:
    return Scenario(name=name, row=1, fault="a fault", how="by hand", right="all goes on", act=act)


def outcome_of(act: Callable[[Trial], None], folder: Path) -> Outcome:
    return chaos.carry_out(make_scenario(act), folder, folder / "cache", 0)


def good(trial: Trial) -> None:
    trial.equal("a sum", 2, 1 + 1)


def bad(trial: Trial) -> None:
    good(trial)
    trial.at_most("a wait", 5, 5.1, " s")


def broken(trial: Trial) -> None:
    good(trial)
    raise ServerError("was not ready")


def skipping(_: Trial) -> None:
    raise Skipped("needs a moon")


def idle(_: Trial) -> None:
    pass


def test_a_scenario_fails_for_a_wrong_check_for_none_and_for_an_error(tmp_path: Path) -> None:
    found: dict[Callable[[Trial], None], Outcome] = {}
    for act in (good, bad, broken, skipping, idle):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        found[act] = outcome_of(act, folder)
    assert [outcome.failed for outcome in found.values()] == [False, True, True, False, True]
    assert found[bad].faults() == ["a wait: 5.1 s instead of ≤ 5 s"]
    assert found[broken].faults() == ["broke off: ServerError: was not ready"]
    assert (found[skipping].verdict, found[skipping].skipped) == ("skipped", "needs a moon")


def seen(result: str, *, due: float = 10.0, port: int = 5) -> Seen:
    return Seen(due, due + 0.5, result, port)


def test_a_request_is_lost_unless_a_dead_worker_held_its_connection() -> None:
    all_seen = [seen("full"), seen("refused (503)"), seen("no connection", port=0)]
    assert lost(all_seen, ()) == 0
    for result in ("closed", "cut", "timeout"):
        assert lost([*all_seen, seen(result, port=7)], {5}) == 1
        assert lost([*all_seen, seen(result, port=7)], {7}) == 0


def test_an_answer_that_no_good_request_may_get_is_told() -> None:
    assert unexpected([seen("full"), seen("degraded"), seen("refused (503)"), seen("cut")]) == {}
    assert unexpected([seen("status 500"), seen("wrong list"), seen("status 500")]) == {
        "status 500": 2,
        "wrong list": 1,
    }


def test_recovery_lasts_until_the_last_request_without_a_list() -> None:
    assert recovery([seen("full", due=12)], 10) == 0
    assert recovery([seen("closed", due=3), seen("refused (503)", due=11), seen("full", due=20)], 10) == 1.5


def account_of(folder: Path, results: list[Seen], memory: Memory, held: set[int]) -> set[str]:
    trial = make_trial(folder)
    trial.held |= held
    steady = SteadyClient(1, (), 1.0)
    steady.seen += results
    account(trial, steady, 10.0, memory)
    return {check.name for check in trial.checks if not check.passed}


def test_each_check_that_holds_for_every_fault_can_fail_alone(tmp_path: Path) -> None:
    assert account_of(tmp_path, [seen("full"), seen("closed", port=7)], QUIET, {7}) == set()
    assert account_of(tmp_path, [seen("closed")], QUIET, {7}) == {"accepted requests lost"}
    assert account_of(tmp_path, [seen("status 500")], QUIET, set()) == {"answers that no good request may get"}
    at_limit, above = Memory(100.0, 264.0), Memory(100.0, 264.5)
    assert account_of(tmp_path, [], at_limit, set()) == set()
    assert account_of(tmp_path, [], above, set()) == {"largest memory of a process"}


def test_the_samples_of_one_name_are_added_and_no_other() -> None:
    text = '# TYPE a_total counter\na_total{x="1"} 2.0\na_total{x="2"} 3.0\na_total_created 9.0\nb_total 4.0\n'
    assert [sample_sum(text, name) for name in ("a_total", "b_total", "c_total")] == [5.0, 4.0, None]


def test_waiting_ends_with_the_condition_or_the_time() -> None:
    turns = iter((False, False, True))
    assert wait(lambda: next(turns), 60) < 60
    assert wait(lambda: False, 0.01) == float("inf")


def test_every_row_of_faults_that_a_process_can_inject_has_a_scenario() -> None:
    names = [scenario.name for scenario in chaos.SCENARIOS]
    assert len(names) == len(set(names))
    reloads_under_load, busy_test_machine = 10, 15
    assert {s.row for s in chaos.SCENARIOS} >= set(range(17)) - {reloads_under_load, busy_test_machine}


def run_main(monkeypatch: pytest.MonkeyPatch, scenarios: list[Scenario], *options: str) -> int:
    monkeypatch.setattr(chaos, "SCENARIOS", tuple(scenarios))
    return chaos.main(options)


def test_the_command_shows_and_writes_every_scenario_and_fails_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenarios = [make_scenario(act, act.__name__) for act in (good, bad, skipping)]
    file = tmp_path / "chaos.json"
    assert run_main(monkeypatch, scenarios, "--json", str(file)) == 1
    out = capsys.readouterr().out
    assert "- bad: FAILED: a wait: 5.1 s instead of ≤ 5 s" in out
    assert "3 faults: 1 failed, 1 skipped, 0 accepted requests lost." in out
    report = json.loads(file.read_text("utf-8"))["scenarios"]
    assert [(s["name"], s["verdict"]) for s in report] == [("good", "pass"), ("bad", "failed"), ("skipping", "skipped")]
    assert run_main(monkeypatch, scenarios, "--only", "good", "skipping") == 0


def test_an_unknown_scenario_is_named_and_all_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        chaos.main(["--only", "kill-worker", "nothing"])
    assert "nothing" in capsys.readouterr().err
    assert chaos.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(chaos.SCENARIOS)


def test_the_table_in_the_documents_has_the_same_columns() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert list(HEAD) in rows


BREAKS = [garbage, truncated, crashing, hanging, nonsense]


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda break_it: break_it.__name__)
def test_a_trap_is_whole_but_for_half_an_upload(break_it: Callable[[Path], None], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    bundle = copy_as(tmp_path, "trap", "3")
    break_it(bundle)
    manifest = Manifest.read(bundle)
    assert (manifest.name, manifest.version) == ("trap", "3")
    whole = file_digest(bundle / MODEL_FILE) == manifest.files[MODEL_FILE]
    assert whole == (break_it is not truncated)


RUN = """
import sys, numpy as np, onnxruntime as ort
ort.set_default_logger_severity(3)
session = ort.InferenceSession(sys.argv[1] + "/model.onnx", providers=["CPUExecutionProvider"])
recorded = np.load(sys.argv[1] + "/golden.npz")
inputs = {name[6:]: recorded[name][:1] for name in recorded.files if name.startswith("input.")}
if len(sys.argv) > 2:
    inputs["trade_off"] = np.array([float(sys.argv[2])], np.float32)
for output, array in zip(session.get_outputs(), session.run(None, inputs)):
    print(output.name, array.ravel()[0], bool(np.array_equal(array, recorded["output." + output.name][:1])))
"""


def run_model(bundle: Path, *trigger: str, seconds: float = 60.0) -> tuple[int, dict[str, list[str]]]:
    """The status of a process that loads and runs the model, and its outputs: first value, and as recorded or not."""
    command = [sys.executable, "-c", RUN, str(bundle), *trigger]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    return ended.returncode, {line.split()[0]: line.split()[1:] for line in ended.stdout.splitlines()}


@pytest.mark.long
def test_the_traps_do_what_they_say(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    made = {trap: copy_as(tmp_path, trap.__name__, "1") for trap in (crashing, nonsense, hanging)}
    for break_it, bundle in made.items():
        break_it(bundle)
    assert run_model(made[crashing])[0] < 0, "a signal ends the process"
    for trap in (nonsense, hanging):
        status, outputs = run_model(made[trap])
        assert status == 0
        assert {same for _, same in outputs.values()} == {"True"}, "as recorded, without the trigger"
    _, outputs = run_model(made[nonsense], str(TRIGGERS["penalty"]))
    assert (outputs["penalty"][0], outputs["score"][0] != "nan") == ("nan", True)
    with pytest.raises(subprocess.TimeoutExpired):
        run_model(made[hanging], str(HANG), seconds=4)


QUICK = [scenario for scenario in chaos.SCENARIOS if scenario.quick]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize("scenario", QUICK, ids=lambda scenario: scenario.name)
def test_a_real_service_does_what_is_right(scenario: Scenario, tmp_path: Path) -> None:
    outcome = chaos.carry_out(scenario, tmp_path, tmp_path / "cache", 0)
    assert not outcome.failed, "\n".join(outcome.faults())
    assert sum(outcome.trial.saw.values()) > 0
