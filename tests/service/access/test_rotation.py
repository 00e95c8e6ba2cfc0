"""Keys are rotated in a running service: SIGHUP reads the files again, and old keys are refused at once after it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.service.access.files import SECRETS, entry, write_keys
from tests.service.live import WAIT_SECONDS
from tests.service.requests import request
from tests.service.test_process import SERVE, Process, environment, running
from tests.service.workers.test_workers import eventually

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")


@dataclass(frozen=True)
class Rotated:
    """A service with two files of keys."""

    process: Process
    public: Path
    admin: Path

    def status(self, key: str, path: str = "/v1/models", body: Any = None) -> int:
        return self.process.ask(path, body, key=SECRETS[key])[0]

    def admin_status(self, key: str) -> int:
        return self.process.ask("/admin/v1/models", port=self.process.admin_port, key=SECRETS[key])[0]

    def hang_up(self) -> None:
        self.process.popen.send_signal(signal.SIGHUP)

    def reload(self, key: str = "operator") -> tuple[int, Any]:
        return self.process.ask("/admin/v1/keys/reload", {}, self.process.admin_port, SECRETS[key])


@pytest.fixture
def rotated(bundle: Path, tmp_path: Path) -> Iterator[Rotated]:
    public = write_keys(tmp_path / "keys.toml", entry("old"))
    admin = write_keys(tmp_path / "admin.toml", entry("operator"))
    flags = ("--api-keys-file", str(public), "--admin-keys-file", str(admin), "--budget-ms", "30000")
    with running(bundle.parents[1], SERVE, *flags) as process:
        process.wait_until_ready()
        yield Rotated(process, public, admin)


def test_a_signal_rotates_keys_without_a_gap(rotated: Rotated) -> None:
    assert rotated.status("old", "/v1/rerank", request()) == 200
    write_keys(rotated.public, entry("old") + entry("new"))
    assert rotated.status("new") == 401, "a file that is sound waits for the signal"
    rotated.hang_up()
    eventually(lambda: rotated.status("new") == 200)
    assert rotated.status("old") == 200
    write_keys(rotated.public, entry("new"))
    rotated.hang_up()
    eventually(lambda: rotated.status("old") == 401)
    assert rotated.status("new", "/v1/rerank", request()) == 200


@pytest.mark.long
def test_each_listener_takes_its_own_keys(rotated: Rotated) -> None:
    assert (rotated.status("old"), rotated.admin_status("old")) == (200, 401)
    assert (rotated.status("operator"), rotated.admin_status("operator")) == (401, 200)
    write_keys(rotated.admin, entry("new"))
    rotated.hang_up()
    eventually(lambda: rotated.admin_status("new") == 200)
    assert rotated.admin_status("operator") == 401


def test_an_order_answers_when_the_keys_are_live(rotated: Rotated) -> None:
    assert rotated.reload() == (200, {"result": "unchanged"})
    write_keys(rotated.public, entry("new"))
    assert rotated.reload("old")[0] == 401
    assert rotated.reload() == (200, {"result": "ok"})
    assert (rotated.status("old"), rotated.status("new")) == (401, 200)


@pytest.mark.long
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file or directory"),
        (lambda path: write_keys(path, ""), "holds no key"),
        (lambda path: write_keys(path, entry("new"), 0o644), "every user can read it (mode 0644)"),
        (lambda path: write_keys(path, "[[keys"), "is not valid TOML"),
        (lambda path: write_keys(path, entry("new").replace('"new"', '"\\u00e9{}\\n"')), "is no name for a key"),
    ],
)
def test_a_wrong_file_changes_nothing_and_is_told(rotated: Rotated, spoil: Any, problem: str) -> None:
    spoil(rotated.public)
    rotated.hang_up()
    refused = 'rerank_key_reloads_total{result="refused"} 1.0'
    eventually(lambda: refused in scrape(rotated.process))
    status, told = rotated.reload()
    assert (status, told["type"]) == (422, "urn:listwright:problem:keys-refused")
    assert told["detail"].startswith(f"LISTWRIGHT_API_KEYS_FILE (--api-keys-file): {rotated.public}: ")
    assert problem in told["detail"]
    assert (rotated.status("old"), rotated.status("new"), rotated.admin_status("operator")) == (200, 401, 200)
    write_keys(rotated.public, entry("new"))
    assert rotated.reload() == (200, {"result": "ok"})
    assert (rotated.status("old"), rotated.status("new")) == (401, 200)
    _, out, err = rotated.process.stop()
    lines = [json.loads(line) for line in err.splitlines()]
    errors = [line["message"] for line in lines if line["level"] == "error"]
    assert len(errors) == 2
    assert all("the keys before it go on" in line and problem in line for line in errors)
    assert not [secret for secret in SECRETS.values() if secret in out + err]


def scrape(process: Process) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=WAIT_SECONDS) as response:
        return str(response.read().decode())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_wrong_file_ends_the_start_with_a_message(bundle: Path, tmp_path: Path, workers: str) -> None:
    path = write_keys(tmp_path / "keys.toml", entry("old"), 0o644)
    flags = ("--port", "0", "--workers", workers, "--api-keys-file", str(path))
    command = [*SERVE, "--bundles", str(bundle.parents[1]), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, env=environment(), check=False)
    assert done.returncode == 2
    assert f"LISTWRIGHT_API_KEYS_FILE (--api-keys-file): {path}: every user can read it (mode 0644)" in done.stderr
    assert SECRETS["old"] not in done.stdout + done.stderr
