"""Send what the OpenAPI documents of both ports allow and forbid.

Schemathesis makes the requests and checks the answers. None may be a 5xx; each has a status, a content type and a body
that the document tells, and what the document forbids is never accepted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.errors import InvalidSchema
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Err, Result
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from loadtest.resilience.fuzz.findings import Findings
from loadtest.resilience.fuzz.mutations import Port, StreamCase
from loadtest.resilience.fuzz.target import Target
from loadtest.rig.contender import direct_session
from models.contract.serving import BATCH_PATH

Operation = APIOperation[Any, Any, Any, Any]
AnyCase = Case[Any]


def _rejects_what_it_reads(context: CheckContext, response: Response, case: AnyCase) -> bool | None:
    """Check that what the document forbids is refused.

    An embedding is read only where it is needed, so a list may be the answer to a wrong one.
    """
    if response.status_code == requests.codes.ok and "embedding" in json.dumps(case.body, default=str):
        return None
    return negative_data_rejection(context, response, case)


_CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    _rejects_what_it_reads,
]
# A batch is answered 200 whatever is wrong with one of its requests, which has an outcome of its own.
_CHECKS_OF_BATCHES: Final = [check for check in _CHECKS if check is not _rejects_what_it_reads]
_MODES: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
_TIMEOUT: Final = 30.0


def fuzz_schemas(target: Target, count: int, number: int, folder: Path) -> Findings:
    """Send about `count` cases, most to operations with a body; `number` is the seed."""
    findings = Findings()
    known: set[str] = set()
    plans = [plan for port in target.ports for plan in _plans(target, port)]
    whole = sum(weight for _, _, _, weight in plans)
    with direct_session() as session:
        for port, operation, mode, weight in plans:
            examples = max(1, round(count * weight / whole))
            _fuzz(_Sender(session, port, folder, findings, known), operation, mode, examples, number)
    findings.add(target.fault())
    return findings


def _plans(target: Target, port: Port) -> list[tuple[Port, Operation, GenerationMode, int]]:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{target.ports[port]}/openapi.json")
    operations = [_whole(result) for result in schema.get_all_operations()]
    return [(port, operation, mode, 20 if operation.body else 1) for operation in operations for mode in _MODES]


def _whole(result: Result[Operation, InvalidSchema]) -> Operation:
    """Return an operation. Raises what is wrong with its part of the document."""
    if isinstance(result, Err):
        raise result.err()
    return result.ok()


class _Sender:
    """Send cases and note what is unexpected, each kind of it once."""

    def __init__(
        self, session: requests.Session, port: Port, folder: Path, findings: Findings, known: set[str]
    ) -> None:
        self._session = session
        self._port: Port = port
        self._folder = folder
        self._findings = findings
        self._known = known

    def send(self, case: AnyCase) -> None:
        """Send one case and check its answer."""
        self._findings.cases += 1
        response = case.call(session=self._session, timeout=_TIMEOUT)
        self._findings.statuses[response.status_code] += 1
        checks = _CHECKS_OF_BATCHES if case.operation.path == BATCH_PATH else _CHECKS
        try:
            case.validate_response(response, checks=checks)
        except FailureGroup as group:
            for failure in group.exceptions:
                self._note(failure, response.request)
        except Failure as failure:
            self._note(failure, response.request)

    def _note(self, failure: Exception, request: requests.PreparedRequest) -> None:
        url = urlsplit(str(request.url))
        said = f"{self._port} {request.method} {url.path}: {type(failure).__name__}: {failure}"[:500]
        kind = said[:120]
        if kind in self._known:
            return
        self._known.add(kind)
        path = self._folder / f"schema-{len(self._known)}.json"
        StreamCase(self._port, (_encode(request),), ("schemathesis",), 1, 1, sound=False).save(path, said)
        self._findings.add(said, path)


def _encode(request: requests.PreparedRequest) -> bytes:
    """Write a request as it was sent, so that it can be sent again."""
    url = urlsplit(str(request.url))
    target = url.path + (f"?{url.query}" if url.query else "")
    body = request.body or b""
    raw = body if isinstance(body, bytes) else str(body).encode()
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {url.netloc}"]
    lines += [
        f"{name}: {value if isinstance(value, str) else value.decode('latin1')}"
        for name, value in request.headers.items()
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin1") + raw


def _fuzz(sender: _Sender, operation: Operation, mode: GenerationMode, examples: int, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: AnyCase) -> None:
        sender.send(case)

    try:
        send()
    except Unsatisfiable:
        return  # An operation without parameters has nothing that could be wrong.
