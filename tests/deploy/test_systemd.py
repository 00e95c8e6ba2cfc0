"""The unit for systemd: sound by systemd's own check, with a command that is understood and time for a stop."""

from __future__ import annotations

import argparse
import configparser
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from service.access.reading import read_keys
from service.command import configure
from service.settings import Settings
from tests.deploy.files import ROOT
from tests.service.live import make_settings

UNIT = ROOT / "deploy" / "systemd" / "listwright.service"
GPU = UNIT.with_name("gpu.conf")
ANALYZE = shutil.which("systemd-analyze")
ENDING_SECONDS = 7
"""The most that the service takes beyond its drain: 3 s for workers, 3 for engine processes, and a margin."""


def section(file: Path) -> configparser.SectionProxy:
    """What a file says of the service."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(file, "utf-8")
    return parser["Service"]


@pytest.fixture
def service() -> configparser.SectionProxy:
    return section(UNIT)


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
@pytest.mark.parametrize("gpu", [False, True])
def test_systemd_finds_no_fault(service: configparser.SectionProxy, tmp_path: Path, gpu: bool) -> None:
    """It asks for the program to be there, so any program stands for ours."""
    program = shlex.split(service["ExecStart"])[0]
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace(program, sys.executable), "utf-8")
    if gpu:
        more = tmp_path / f"{UNIT.name}.d"
        more.mkdir()
        shutil.copy(GPU, more)
    done = subprocess.run([str(ANALYZE), "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_gpu_is_visible_where_it_is_asked_for_and_nowhere_else(service: configparser.SectionProxy) -> None:
    more = section(GPU)
    assert (service["PrivateDevices"], more["PrivateDevices"]) == ("yes", "no")
    name, _, provider = more["Environment"].partition("=")
    assert name == "LISTWRIGHT_PROVIDER"
    assert make_settings(provider=provider).provider == "cuda"


def test_its_user_can_read_the_keys_that_the_head_installs_and_the_service_takes_them(
    service: configparser.SectionProxy, tmp_path: Path
) -> None:
    """A user who is made at each start can be in no file's group, and a file for every user is refused."""
    assert "DynamicUser" not in service
    head = UNIT.read_text("utf-8")
    (made,) = re.findall(r"useradd --system --user-group .* (\w+)$", head, re.MULTILINE)
    assert made == service["User"]
    ((mode, group),) = re.findall(r"install -D -m (\d+) -g (\w+) keys.toml", head)
    assert group == service["Group"]
    assert int(mode, 8) & stat.S_IRGRP
    file = tmp_path / "keys.toml"
    file.write_text('[[keys]]\nname = "shop"\nkey = "a-long-key-of-the-shop"\n', "utf-8")
    file.chmod(int(mode, 8))
    assert [key.name for key in read_keys(file)] == ["shop"]


def test_a_socket_for_a_proxy_is_its_groups_alone(service: configparser.SectionProxy) -> None:
    assert service["RuntimeDirectory"] == "listwright", "the folder of --uds in docs/operations.md"
    assert int(service["UMask"], 8) == 0o007
    assert int(service["RuntimeDirectoryMode"], 8) == 0o750


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
