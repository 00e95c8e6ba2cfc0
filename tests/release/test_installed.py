"""The wheel in a bare environment outside the checkout: it serves, answers README's request and runs the demo.

`make release-test` runs these; they take about a minute, most of it pip's.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from loadtest.rig.openloop.build import why_unavailable
from tests.release.conftest import Environment
from tests.release.test_distributions import PROJECT
from tests.test_readme import README, TOLERANCE, block

# Most of the time is pip's, and that of a busy index.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NEVER: Final = ("torch", "onnx", "pyarrow", "locust", "pytest")
"""Packages that serving does not install."""


def test_it_is_imported_from_the_environment_and_brings_nothing_that_training_needs(installed: Environment) -> None:
    code = (
        "import json, importlib.util as u, service, models, export, loadtest; "
        f"print(json.dumps([[m.__file__ for m in (service, models, export, loadtest)], "
        f"[n for n in {NEVER} if u.find_spec(n)]]))"
    )
    files, found = json.loads(installed.output("python", "-c", code))
    assert all(Path(file).is_relative_to(installed.bin.parent) for file in files)
    assert found == []


def test_the_command_says_its_version(installed: Environment) -> None:
    assert installed.output("listwright", "--version") == f"listwright {PROJECT['version']}\n"


def ask(url: str, body: Any = None) -> Any:
    sent = urllib.request.Request(url, body and json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(sent, timeout=10) as response:
        return json.load(response)


@pytest.fixture
def url(installed: Environment) -> Iterator[str]:
    """The installed service with its embedded bundle, ready."""
    options = ("--port", "0", "--admin-port", "0", "--budget-ms", "30000")
    log = installed.work / "log"
    with log.open("w") as err, installed.start("listwright", "serve", *options, err=err.fileno()) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        try:
            wait_until_ready(url)
            yield url
        finally:
            process.terminate()
            process.wait(30)
    assert process.returncode == 0
    assert "serving the embedded demo bundle" in log.read_text("utf-8")


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            ask(f"{url}/v2/health/ready")
        except urllib.error.HTTPError as error:
            error.close()
            time.sleep(0.05)
        else:
            return
    pytest.fail("the service was not ready within 60 s")


def test_the_embedded_bundle_gives_the_answer_in_the_readme(url: str) -> None:
    answer, shown = ask(f"{url}/v1/rerank", block(README, "request")), block(README, "response")
    assert answer["items"] == shown["items"]
    assert answer["value"] == pytest.approx(shown["value"], abs=TOLERANCE, rel=TOLERANCE)
    assert [model["name"] for model in ask(f"{url}/v1/models")["models"]] == ["demo"]


def test_the_demo_runs(installed: Environment) -> None:
    printed = installed.output("python", "-m", "loadtest.demo")
    assert "revenue first" in printed
    assert '"scene": "home-feed"' in printed
    assert "ids and scores alone gave the same lists" in printed
    assert "p99" in printed


@pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
def test_the_open_loop_client_is_compiled_into_the_users_cache(installed: Environment) -> None:
    code = "from loadtest.rig.openloop.build import client_program; print(client_program())"
    program = Path(installed.output("python", "-c", code).strip())
    assert program.is_relative_to(installed.variables["XDG_CACHE_HOME"])
    assert program.is_file()
