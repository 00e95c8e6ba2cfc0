"""The sdist and the wheel, and the wheel installed in an environment, each made once for all tests here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.files import ROOT
from tests.release.build import build, copy_tracked


@dataclass(frozen=True)
class Release:
    """The two files of a release."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("a release is built from what git tracks, and this is no git checkout")
    if find_spec("build") is None:
        pytest.skip("needs the extra `dev`")
    folder = tmp_path_factory.mktemp("release")
    sdist, wheel = sorted(
        build(copy_tracked(folder / "tree"), folder / "dist", "--sdist", "--wheel"), key=lambda path: path.suffix
    )
    return Release(sdist, wheel)


_OURS: Final = ("LISTWRIGHT_", "PYTHON", "COVERAGE", "COV_")


class Environment:
    """A virtual environment with the wheel in it, and an empty folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.work = folder / "work"
        self.work.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        self.variables = {**kept, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def start(self, program: str, *arguments: str, err: int | None = None) -> subprocess.Popen[str]:
        """Run a program of the environment."""
        command = [str(self.bin / program), *arguments]
        return subprocess.Popen(
            command, cwd=self.work, env=self.variables, stdout=subprocess.PIPE, stderr=err, text=True
        )

    def output(self, program: str, *arguments: str) -> str:
        """Run a program to its end, and return all that it prints."""
        with self.start(program, *arguments, err=subprocess.STDOUT) as process:
            out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
        return out


def _pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "--retries", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def installed(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("installed")
    probe = _pip(Path(sys.executable), "download", "--no-deps", "--dest", str(folder / "probe"), "msgspec")
    if probe.returncode:
        why = f"pip cannot reach a package index: {(probe.stderr.splitlines() or ['it says nothing'])[-1]}"
        # `make release-test` promises that a wheel was installed, so there it must not pass without one.
        (pytest.fail if os.environ.get("RELEASE_TEST") == "required" else pytest.skip)(why)
    venv.create(folder / "venv", with_pip=True)
    environment = Environment(folder)
    constraints = ("--constraint", str(ROOT / "constraints.txt"))
    done = _pip(environment.bin / "python", "install", "--quiet", *constraints, f"{release.wheel}[cpu]")
    assert done.returncode == 0, done.stderr
    return environment


@pytest.fixture(scope="session")
def tools(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with what `make sbom` and `make audit` use; `installed` has found an index."""
    assert installed.bin.exists()
    folder = tmp_path_factory.mktemp("tools") / "venv"
    venv.create(folder, with_pip=True)
    (line,) = [line for line in (ROOT / "Makefile").read_text("utf-8").splitlines() if "'cyclonedx-bom" in line]
    wanted = [word.strip("'") for word in line.split() if word.startswith("'")]
    done = _pip(folder / "bin" / "python", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), *wanted)
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "python"
