"""A real redis-server on a free port of 127.0.0.1, which tests fill, slow down, stop and start again."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST: Final = "127.0.0.1"
WAIT_SECONDS: Final = 60
PREFIX: Final = "listwright:"


class RedisServer:
    """One server; it keeps its port when it is started again, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        return self._folder / "redis.sock"

    def start(self, *options: str) -> None:
        program = shutil.which("redis-server")
        assert program is not None
        command = [program, "--port", str(self.port), "--bind", HOST, "--save", "", "--dir", str(self._folder)]
        command += ["--unixsocket", str(self.socket_path), "--enable-debug-command", "yes", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + WAIT_SECONDS
        while self._process.poll() is None:
            with contextlib.suppress(redis.ConnectionError), self.client() as client:
                # A password that was set answers as well.
                with contextlib.suppress(redis.AuthenticationError):
                    client.ping()
                return
            assert time.monotonic() < deadline, "redis-server did not answer"
            time.sleep(0.01)
        raise OSError(f"redis-server did not start on port {self.port}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        client = redis.Redis(host=HOST, port=self.port, protocol=2, retry=Retry(NoBackoff(), 0))
        try:
            yield client
        finally:
            client.close()

    def put(self, field: str, values: Mapping[str, str]) -> None:
        """Set values of one field: ``price`` or ``features:NAME``."""
        with self.client() as client:
            client.hset(PREFIX + field, items=[part for pair in values.items() for part in pair])

    def command(self, *words: str) -> object:
        with self.client() as client:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]

    def connections(self) -> int:
        """Number of clients besides the one that asks."""
        with self.client() as client:
            return len(client.client_list()) - 1

    def questions(self) -> int:
        """Number of HMGET commands since the start."""
        with self.client() as client:
            stats = client.info("commandstats")
        return int(stats.get("cmdstat_hmget", {}).get("calls", 0))


def free_port() -> int:
    with socket.create_server((HOST, 0)) as taken:
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on this machine (Debian's package redis-server)")
    for attempts_left in (4, 3, 2, 1, 0):
        server = RedisServer(folder)
        try:
            server.start(*options)
            break
        except OSError:  # Another program took the port in between.
            if not attempts_left:
                raise
    try:
        yield server
    finally:
        server.stop()
