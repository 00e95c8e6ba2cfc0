"""`python -m loadtest.rig.server`: a service for the length of one command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.rig import server
from loadtest.rig.contender import direct_session
from tests.service.tiny_bundle import write_bundle


@pytest.mark.long
def test_a_command_is_told_where_its_service_listens(tmp_path: Path) -> None:
    bundles, out = tmp_path / "bundles", tmp_path / "models.json"
    write_bundle(bundles)
    fetch = "import sys, urllib.request as u; open(sys.argv[2], 'wb').write(u.urlopen(sys.argv[1]).read())"
    command = [sys.executable, "-c", fetch, "{url}/v1/models", str(out)]
    assert server.main(["--bundles", str(bundles), "--log", str(tmp_path / "log"), "--", *command]) == 0
    assert "tiny" in out.read_text("utf-8")


@pytest.mark.long
def test_the_commands_status_is_passed_on(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    assert server.main(["--bundles", str(tmp_path), "--", sys.executable, "-c", "raise SystemExit(7)"]) == 7


@pytest.mark.long
def test_without_a_service_nothing_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        server.main(["--bundles", str(tmp_path / "missing"), "--", "touch", str(tmp_path / "ran")])
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_a_server_that_does_not_end_is_killed_with_processes_of_other_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STOP_TIMEOUT", 0.2)
    sleep = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    hangs = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"print(subprocess.Popen({sleep}, start_new_session=True).pid, flush=True); sys.stdin.read(); time.sleep(60)"
    )
    out = tmp_path / "out"
    with server.started([sys.executable, "-c", hangs], out, None, cpus=(), environment=None) as process:
        server.poll(process, out, lambda: out.read_text("ascii").endswith("\n"), "wrote nothing")
        members = server.tree(process.pid)
        assert members.keys() == {process.pid, int(out.read_text("ascii"))}
    assert server.alive(members) == []


def test_a_process_whose_parent_has_ended_is_found_by_its_session() -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    root = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    root.wait()
    (left,) = server.tree(root.pid)
    assert left != root.pid
    server.stop(root)
    assert server.tree(root.pid) == {}


def test_a_process_that_has_ended_but_was_not_waited_for_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        members = server.tree(process.pid)
        assert server.alive(members) == [process.pid]
        assert process.stdin is not None
        process.stdin.close()
        while server.alive(members):
            pass
        assert process.returncode is None


@pytest.mark.long
def test_no_proxy_of_the_environment_stands_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with server.running_server(tmp_path) as running, direct_session() as session:
        assert session.get(f"{running.url}/metrics", timeout=10).status_code == 200
