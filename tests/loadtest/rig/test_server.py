"""`python -m loadtest.rig.server`: a service for the length of one command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loadtest.rig import server
from tests.service.tiny_bundle import write_bundle


def test_a_command_is_told_where_its_service_listens(tmp_path: Path) -> None:
    bundles, out = tmp_path / "bundles", tmp_path / "models.json"
    write_bundle(bundles)
    fetch = "import sys, urllib.request as u; open(sys.argv[2], 'wb').write(u.urlopen(sys.argv[1]).read())"
    command = [sys.executable, "-c", fetch, "{url}/v1/models", str(out)]
    assert server.main(["--bundles", str(bundles), "--log", str(tmp_path / "log"), "--", *command]) == 0
    assert "tiny" in out.read_text("utf-8")


def test_the_commands_status_is_passed_on(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    assert server.main(["--bundles", str(tmp_path), "--", sys.executable, "-c", "raise SystemExit(7)"]) == 7


def test_without_a_service_nothing_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        server.main(["--bundles", str(tmp_path / "missing"), "--", "touch", str(tmp_path / "ran")])
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
