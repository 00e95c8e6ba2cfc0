"""The unit for systemd: sound by systemd's own check, with a command that is understood and time for a stop."""

from __future__ import annotations

import argparse
import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.command import configure
from service.settings import Settings
from tests.deploy.files import ROOT

UNIT = ROOT / "deploy" / "systemd" / "listwright.service"
ANALYZE = shutil.which("systemd-analyze")
ENDING_SECONDS = 7
"""The most that the service takes beyond its drain: 3 s for workers, 3 for engine processes, and a margin."""


@pytest.fixture
def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT, "utf-8")
    return parser["Service"]


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_systemd_finds_no_fault(service: configparser.SectionProxy, tmp_path: Path) -> None:
    """It asks for the program to be there, so any program stands for ours."""
    program = shlex.split(service["ExecStart"])[0]
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace(program, sys.executable), "utf-8")
    done = subprocess.run([str(ANALYZE), "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_command_is_understood(service: configparser.SectionProxy) -> None:
    program, command, *flags = shlex.split(service["ExecStart"])
    assert (Path(program).name, command) == ("listwright", "serve")
    parser = argparse.ArgumentParser(exit_on_error=False)
    configure(parser)
    assert vars(parser.parse_args(flags)) == {"bundles": "/var/lib/listwright/bundles"}


def test_a_stop_has_time_for_the_delay_the_drain_and_what_follows(service: configparser.SectionProxy) -> None:
    settings = Settings.model_construct()
    needed = settings.shutdown_delay_seconds + settings.drain_seconds + ENDING_SECONDS
    assert float(service["TimeoutStopSec"]) >= needed


def test_a_wrong_setting_is_not_tried_again(service: configparser.SectionProxy) -> None:
    assert service["RestartPreventExitStatus"] == "2"
    assert service["Restart"] == "on-failure"
