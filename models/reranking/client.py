"""Post batches of requests to a service, over TCP or a Unix socket.

A request that found no place is sent again; any other outcome of a single request is a result, not an error.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec

from models.contract.serving import BATCH_PATH
from models.reranking.warnings import FieldWarning

_TRIES: Final = 8
_UNAVAILABLE: Final = 503
_TOO_LARGE: Final = 413


class RerankError(ValueError):
    """Report a service that cannot be asked, or does not answer as one."""


class Explanation(msgspec.Struct):
    """Reasons for one choice of the model; see docs/api.md."""

    queue: str
    parts: dict[str, float]
    penalty: float
    score: float
    runner_up: str | None = None


class RankedItem(msgspec.Struct):
    """One item of a list."""

    id: str
    index: int
    position: int
    source: str
    explanation: Explanation | None = None


class RankedList(msgspec.Struct):
    """An answer of the service."""

    model: str
    version: str
    items: list[RankedItem]
    value: dict[str, float]
    degraded: dict[str, str] | None = None
    warnings: list[FieldWarning] = []


class _Problem(msgspec.Struct):
    detail: str


class _Result(msgspec.Struct):
    status: int
    response: RankedList | None = None
    problem: _Problem | None = None


class _Results(msgspec.Struct):
    results: list[_Result]


_decode: Final = msgspec.json.Decoder(_Results).decode
Outcome = RankedList | str
"""A list, or the reason why there is none."""


def environment_key() -> str | None:
    """Return the first of the keys in LISTWRIGHT_API_KEYS; None without one."""
    return os.environ.get("LISTWRIGHT_API_KEYS", "").split(",")[0].strip() or None


def key_headers(key: str | None) -> dict[str, str]:
    """Return the headers that show a key, none without one."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


@dataclass(frozen=True, slots=True)
class Address:
    """Name a service by its URL or its Unix socket, perhaps with a key."""

    url: str | None = None
    uds: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if self.url is not None:
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise RerankError(f"--url: must be like http://127.0.0.1:8000, not {self.url!r}")

    def __str__(self) -> str:
        return str(self.url or self.uds)

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        """Make a connection, which opens at its first request."""
        if self.uds is not None:
            return _UnixConnection(self.uds, timeout)
        parts = urlsplit(self.url or "")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=timeout)


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class BatchClient:
    """Keep one connection to a service. Not thread-safe."""

    def __init__(self, address: Address, *, timeout: float = 120.0, pause: float = 1.0) -> None:
        """Prepare a connection; after a 503 it waits for `pause` seconds, and longer each time."""
        self._address = address
        self._connection = address.connect(timeout)
        self._pause = pause

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def rerank(self, bodies: Sequence[bytes]) -> list[Outcome]:
        """Return an outcome for each request, in order. Raises `RerankError`."""
        found: list[Outcome] = [""] * len(bodies)
        waiting = list(range(len(bodies)))
        for attempt in range(_TRIES):
            results = self._post([bodies[i] for i in waiting])
            for i, result in zip(waiting, results, strict=True):
                found[i] = _outcome(result)
            waiting = [i for i, result in zip(waiting, results, strict=True) if result.status == _UNAVAILABLE]
            if not waiting:
                break
            if attempt < _TRIES - 1:
                time.sleep(self._pause * (1 + attempt))
        return found

    def ready(self) -> str | None:
        """Say why the service is not ready; None: it is. Raises `OSError` if nothing listens."""
        status, body = self._ask("GET", "/v2/health/ready", None)
        return None if status == http.client.OK else problem_detail(body)

    def _post(self, bodies: Sequence[bytes]) -> list[_Result]:
        """Post one batch, in halves if it is too large for this service."""
        try:
            status, body = self._ask("POST", BATCH_PATH, b'{"requests":[%b]}' % b",".join(bodies))
        except (OSError, http.client.HTTPException) as error:
            raise RerankError(f"{self._address}: cannot be asked: {error!r}") from error
        if status == http.client.OK:
            return _read(body, len(bodies))
        if status == _TOO_LARGE and len(bodies) > 1:
            half = len(bodies) // 2
            return self._post(bodies[:half]) + self._post(bodies[half:])
        problem = _Problem(problem_detail(body))
        if status == _UNAVAILABLE or (status == _TOO_LARGE and len(bodies) == 1):
            return [_Result(status, None, problem)] * len(bodies)
        raise RerankError(f"{self._address}: the service answered {status}: {problem.detail}")

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", **key_headers(self._address.key)}
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except BaseException:
            self._connection.close()  # What comes next may not read the rest of this answer.
            raise


def _read(body: bytes, count: int) -> list[_Result]:
    try:
        results = _decode(body).results
    except msgspec.MsgspecError as error:
        raise RerankError(f"the service's answer is no batch: {error}") from error
    if len(results) != count:
        raise RerankError(f"the service answered {len(results)} of {count} requests")
    return results


def _outcome(result: _Result) -> Outcome:
    if result.response is not None:
        return result.response
    detail = result.problem.detail if result.problem is not None else "no reason is given"
    return f"{result.status}: {detail}"


def problem_detail(body: bytes) -> str:
    """Return the detail of an RFC 9457 problem document, or the start of another body."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return repr(body[:200].decode("utf-8", "replace"))
