"""`listwright serve` as operators run it: a process, its signals, its exit status and what it never imports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.service.live import WAIT_SECONDS
from tests.service.requests import check_list, request

SERVE = [sys.executable, "-m", "models.cli", "serve"]
# The same command, which says on its way out what it has imported.
SPY = [
    sys.executable,
    "-c",
    "import sys; from models.cli import main; status = main(['serve', *sys.argv[1:]]); "
    "print(','.join(sorted({name.partition('.')[0] for name in sys.modules}))); sys.exit(status)",
]


@dataclass
class Process:
    """A running service."""

    popen: subprocess.Popen[str]
    port: int
    admin_port: int

    def ask(self, path: str, body: Any = None, port: int | None = None, key: str | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{port or self.port}{path}"
        try:
            sent = urllib.request.Request(url, data, with_key(key))
            with urllib.request.urlopen(sent, timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while self.ask("/v2/health/ready")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> tuple[int, str, str]:
        self.popen.send_signal(signal.SIGTERM)
        out, err = self.popen.communicate(timeout=WAIT_SECONDS)
        return self.popen.returncode, out, err


def with_key(key: str | None) -> dict[str, str]:
    """The fields of a request, with an API key unless it is None."""
    fields = {"Content-Type": "application/json"}
    return fields if key is None else {**fields, "Authorization": f"Bearer {key}"}


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LISTWRIGHT_")}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


@contextlib.contextmanager
def running(bundles: Path, command: Sequence[str] = SERVE, *flags: str, **more: str) -> Iterator[Process]:
    arguments = [*command, "--bundles", str(bundles), "--port", "0", *flags]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**more)
    ) as popen:
        try:
            assert popen.stdout is not None
            line = json.loads(popen.stdout.readline())
            assert line["event"] == "listening"
            yield Process(popen, line["port"], line["admin_port"])
        finally:
            popen.kill()


@pytest.mark.long
def test_it_serves_reloads_and_stops_cleanly_without_ever_importing_what_training_needs(any_bundle: Path) -> None:
    with running(any_bundle.parents[1], SPY) as process:
        process.wait_until_ready()
        status, answer = process.ask("/v1/rerank", request())
        assert status == 200
        check_list(request(), answer)
        assert process.ask("/admin/v1/reload", {"model": "tiny"}, process.admin_port)[0] == 200
        assert process.ask("/v1/models")[1]["models"][0]["provider"] == "cpu"
        assert process.ask("/openapi.json")[0] == 200
        status, out, err = process.stop()
    assert status == 0, err
    imported = set(out.splitlines()[-1].split(","))
    assert "onnxruntime" in imported
    assert not imported & {"torch", "onnx", "pyarrow", "sklearn", "scipy", "lightgbm", "pandas", "export", "loadtest"}
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    messages = [line["message"] for line in lines]
    assert messages[0] == "inference runs on cpu"
    assert messages[-1] == "stopped"


@pytest.mark.long
def test_it_finishes_what_is_in_flight_before_it_stops(bundle: Path) -> None:
    with running(bundle.parents[1]) as process:
        process.wait_until_ready()
        body = json.dumps(request()).encode()
        head = b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        with socket.create_connection(("127.0.0.1", process.port), timeout=WAIT_SECONDS) as connection:
            connection.sendall(head % len(body) + body[:-1])
            time.sleep(0.2)
            process.popen.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(body[-1:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert process.popen.wait(WAIT_SECONDS) == 0


@pytest.mark.long
def test_it_says_not_ready_before_it_closes_its_listener(bundle: Path) -> None:
    with running(bundle.parents[1], SERVE, "--shutdown-delay-seconds", "1") as process:
        process.wait_until_ready()
        process.popen.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + WAIT_SECONDS
        while (answer := process.ask("/v2/health/ready"))[0] == 200:
            assert time.monotonic() < deadline
        assert answer[0] == 503
        assert "shutting down" in answer[1]["detail"]
        assert process.ask("/v1/rerank", request())[0] == 200
        assert process.popen.wait(WAIT_SECONDS) == 0


def test_an_empty_folder_is_served_as_not_ready(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        deadline = time.monotonic() + WAIT_SECONDS
        while "no bundle is loaded" not in (answer := process.ask("/v2/health/ready"))[1]["detail"]:
            assert time.monotonic() < deadline
        assert answer[0] == 503
        assert process.ask("/v1/rerank", request())[0] == 503
        assert process.stop()[0] == 0


def fails(*flags: str, **more: str) -> str:
    done = subprocess.run(
        [*SERVE, *flags], capture_output=True, text=True, timeout=WAIT_SECONDS, env=environment(**more)
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.long
def test_a_wrong_setting_ends_it_at_once_and_names_itself(tmp_path: Path) -> None:
    assert "LISTWRIGHT_PORT (--port): " in fails("--bundles", str(tmp_path), "--port", "x")
    assert "LISTWRIGHT_BUDGET_MS (--budget-ms): " in fails("--bundles", str(tmp_path), LISTWRIGHT_BUDGET_MS="-3")
    assert "LISTWRIGHT_BUNDLES (--bundles): no such folder" in fails("--bundles", str(tmp_path / "none"))


@pytest.mark.long
def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"LISTWRIGHT_PORT (--port): cannot listen on 127.0.0.1:{port}" in fails(
            "--bundles", str(tmp_path), "--port", port
        )


@pytest.mark.long
def test_cuda_that_is_not_there_is_an_error_and_not_a_fallback(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this build of ONNX Runtime offers CUDA")
    message = fails("--bundles", str(tmp_path), "--port", "0", "--provider", "cuda")
    assert "LISTWRIGHT_PROVIDER (--provider): cuda cannot be used" in message
