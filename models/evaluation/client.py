"""Call `POST /v1/rerank` as a backend would, one request at a time.

It checks that the answer is a list in the order of which all candidates stand once, made by the model, and says what
the service said when it refuses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec
import numpy as np
import requests

from models.contract.arrays import Ints
from models.contract.serving import RERANK_PATH
from models.reranking.client import problem_detail
from models.reranking.warnings import FieldWarning

_TRIES: Final = 4
_LATE: Final = ("deadline", "wait")
"""Reasons for a list without the model that a service without deadlines has not."""


class ServiceError(ValueError):
    """Report a service that cannot be reached, refused a request or gave no valid list."""


class _Item(msgspec.Struct):
    index: int
    source: str


class _Answer(msgspec.Struct):
    model: str
    version: str
    items: list[_Item]
    degraded: dict[str, str] | None = None
    warnings: list[FieldWarning] = []


@dataclass(frozen=True, slots=True)
class Ranking:
    """Hold an answer: `order` [n] has candidate indices, of which the model chose the first `by_model`.

    `warnings` say what of the request the model could not use.
    """

    order: Ints
    by_model: int
    model: str
    version: str
    warnings: tuple[FieldWarning, ...]


def _degraded_text(reason: str) -> str:
    text = f"the service answered {_TRIES} times without its model ({reason})"
    return f"{text}; start it with --deadline-mode observe to evaluate it" if reason in _LATE else text


class RerankClient:
    """Keep a connection to one service. Not thread-safe."""

    def __init__(self, url: str, *, timeout: float = 60.0, pause: float = 0.5) -> None:
        """Prepare a connection; after a list without the model it waits for `pause` seconds.

        It waits longer each time. Raises `ServiceError` for a URL that is not ``http[s]://host[:port]``.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServiceError(f"--url: must be like http://127.0.0.1:8000, not {url!r}")
        self._url = url
        self._timeout = timeout
        self._pause = pause
        self._session = requests.Session()
        self._session.headers["Content-Type"] = "application/json"
        self._session.trust_env = False  # No proxy stands between: the service is asked itself.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def rerank(self, request: Mapping[str, Any]) -> Ranking:
        """Order all of the request's candidates. Raises `ServiceError`, naming the list.

        A list that was made without the model is asked for again, a few times.
        """
        where, body = f"list {request['request_id']!r}", json.dumps(request, allow_nan=False).encode()
        answer = self._ask(body, where)
        for attempt in range(1, _TRIES):
            if answer.degraded is None:
                break
            time.sleep(self._pause * attempt)
            answer = self._ask(body, where)
        if answer.degraded is not None:
            raise ServiceError(f"{where}: {_degraded_text(answer.degraded['reason'])}")
        order = [item.index for item in answer.items]
        if sorted(order) != list(range(len(request["candidates"]))):
            raise ServiceError(f"{where}: the service did not return every candidate once")
        by_model = sum(item.source == "model" for item in answer.items)
        return Ranking(np.array(order, np.int64), by_model, answer.model, answer.version, tuple(answer.warnings))

    def _ask(self, body: bytes, where: str) -> _Answer:
        status, body = self._post(body)
        if status != requests.codes.ok:
            raise ServiceError(f"{where}: the service answered {status}: {problem_detail(body)}")
        try:
            return msgspec.json.decode(body, type=_Answer)
        except msgspec.MsgspecError as error:
            raise ServiceError(f"{where}: the service's answer is not a list: {error}") from error

    def _post(self, body: bytes) -> tuple[int, bytes]:
        try:
            response = self._session.post(
                self._url.rstrip("/") + RERANK_PATH, body, timeout=self._timeout, allow_redirects=False
            )
            return response.status_code, response.content
        except requests.RequestException as error:
            raise ServiceError(f"{self._url}: cannot be asked: {error!r}") from error
