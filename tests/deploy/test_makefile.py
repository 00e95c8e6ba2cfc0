"""The Makefile offers what the README promises, and refuses an interpreter that is too old in words."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.deploy.files import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def _make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "target",
    [
        "setup",
        "lock",
        "demo",
        "test",
        "test-long",
        "test-ray",
        "coverage",
        "release-test",
        "lint",
        "typecheck",
        "train-demo",
        "loadtest",
        "bench",
        "goodput",
        "cost-growth",
        "paired",
        "peers-setup",
        "peers",
        "gpu-check",
        "overload",
        "lifecycle",
        "wheel",
        "sbom",
        "audit",
        "digests",
        "alerts",
        "alerts-test",
        "manifests",
        "clean",
    ],
)
def test_each_target_has_commands_and_a_line_of_help(target: str) -> None:
    assert _make("--dry-run", "--always-make", target).returncode == 0
    assert any(line.startswith(f"{target} ") for line in _make("help").stdout.splitlines())


def test_the_demo_never_installs_torch_or_training_extras() -> None:
    commands = _make("--dry-run", "--always-make", "demo").stdout
    assert "'.[cpu]'" in commands
    assert "torch" not in commands


@pytest.mark.parametrize(("arguments", "extra"), [((), "cpu"), (("EXTRA=gpu",), "gpu")])
def test_one_build_of_onnx_runtime_is_installed_and_can_be_chosen(arguments: tuple[str, ...], extra: str) -> None:
    assert f"'.[{extra},train," in _make("--dry-run", "--always-make", "setup", *arguments).stdout


def test_an_interpreter_that_is_too_old_is_refused_in_words(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    old = tmp_path / "python2.7"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = _make("setup", f"PYTHON={old}", folder=tmp_path)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_every_environment_but_the_peers_is_installed_within_the_constraints() -> None:
    commands = _make("--dry-run", "--always-make", "setup", "demo").stdout.splitlines()
    installs = [line for line in commands if "pip install" in line]
    assert len(installs) == 3
    assert all("--constraint constraints.txt" in line for line in installs)


def test_rays_tests_run_in_an_environment_of_their_own_that_no_other_target_makes() -> None:
    commands = _make("--dry-run", "--always-make", "test-ray").stdout
    assert "'.[cpu,train,ray,dev]'" in commands
    assert all("--constraint constraints.txt" in line for line in commands.splitlines() if "pip install" in line)
    assert ".venv-ray/bin/python -m pytest -m ray -rs" in commands
    assert ".venv-ray" not in _make("--dry-run", "--always-make", "setup", "test", "coverage").stdout
    assert ".venv-ray/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert ".venv-ray" in _make("--dry-run", "clean").stdout


def test_coverage_runs_both_halves_once_and_measured_and_has_a_least_for_each_part() -> None:
    commands = _make("--dry-run", "test", "coverage").stdout
    runs = [line for line in commands.splitlines() if "-m pytest" in line]
    assert ["-m long" in line for line in runs] == [False, True]
    assert all("coverage run -m pytest" in line for line in runs)
    assert commands.count("coverage erase") == 1
    assert commands.index("coverage erase") < commands.index(runs[0])
    gates = re.findall(r"--include='(.*?)'.*--fail-under=(\d+)", commands)
    assert gates == [("service/*", "90"), ("models/contract/*", "98")]
    alone = _make("--dry-run", "test", "test-long").stdout
    assert alone.count("-m pytest") == 2
    assert "coverage" not in alone


def test_ci_runs_make_test_with_coverage_then_tests_the_release_and_stops_at_the_first_failure() -> None:
    script = ROOT / ".ci" / "run"
    lines = script.read_text("utf-8").splitlines()
    assert script.stat().st_mode & stat.S_IXUSR
    assert "set -euo pipefail" in lines
    assert lines[-2:] == ["make test coverage", "make release-test"]
