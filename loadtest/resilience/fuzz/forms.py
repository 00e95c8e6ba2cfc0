"""Send candidates in all forms and bodies in all codings, and check the answers.

Some are wrong. A good request in another form gets the list of its objects, and a refusal names the column or the
header that is wrong.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import zstandard

from loadtest.requests.forms import FORMS, NUMBERS, Form, Numbers, in_form
from loadtest.requests.payloads import Payload, RequestSource, list_problem
from loadtest.requests.wrong_columns import SPOILS
from loadtest.resilience.fuzz.findings import Findings
from loadtest.resilience.fuzz.mutations import StreamCase
from loadtest.resilience.fuzz.target import Target
from loadtest.rig.client import KeepAliveClient, post_message

ITEMS: Final = 200
"""Items of the catalogue that the requests name."""

_MOST_CANDIDATES: Final = 30
_MOST_FAULTS: Final = 50  # More tell nothing new.
_WRONG_SHARE: Final = 0.4
_PROBLEM: Final = "urn:listwright:problem:"
_BOMB: Final = 1 << 26

Compress = Callable[[bytes], bytes]
CODINGS: Final[Mapping[str, Compress]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
_REFUSALS: Final = {
    "cut off": (400, "malformed-encoding"),
    "followed by more": (400, "malformed-encoding"),
    "a bomb": (413, "body-too-large"),
    "of another coding": (415, "unsupported-media-type"),
}


@dataclass(frozen=True, slots=True)
class FormCase:
    """One request; `objects` is the same with objects, where it must get the same list.

    `status` and `named` are those of the answer: a problem's type, or the field that is wrong.
    """

    body: bytes
    headers: Mapping[str, str]
    done: tuple[str, ...]
    payload: Payload
    objects: bytes | None = None
    status: int = 200
    named: str = ""


def make_form_case(rng: random.Random, source: RequestSource) -> FormCase:
    """Draw a request, its form and its coding, and perhaps one thing that is wrong."""
    request = source(rng.randint(1, _MOST_CANDIDATES))
    form, numbers = rng.choice(FORMS), rng.choice(NUMBERS)
    ids = tuple(candidate["id"] for candidate in request["candidates"])
    payload = Payload(b"", ids, min(10, len(ids)))
    objects = _encode(request)
    wrong, named = _put_in_form(rng, request, form, numbers)
    status, done = (422 if wrong else 200), tuple(filter(None, (form, numbers, wrong)))
    body, headers, coding = _encode(request), dict[str, str](), rng.choice((None, *CODINGS))
    if coding is not None:
        body, refused = _packed(rng, body, coding, spoil=not wrong)
        headers["Content-Encoding"] = "br" if refused == "of another coding" else coding
        done = (*done, coding)
        if refused:
            (status, named), done = _REFUSALS[refused], (*done, refused)
    same = status == 200 and (numbers == "arrays" or form == "objects")
    return FormCase(body, headers, done, payload, objects if same else None, status, named)


def _put_in_form(rng: random.Random, request: dict[str, Any], form: Form, numbers: Numbers) -> tuple[str | None, str]:
    """Change a request's candidates; return what is wrong with them, if anything, and where."""
    candidates = in_form(request["candidates"], form, numbers)
    request["candidates"] = candidates
    if not isinstance(candidates, dict) or rng.random() >= _WRONG_SHARE:
        return None, ""
    wrong = rng.choice(list(SPOILS))
    return wrong, SPOILS[wrong](rng, candidates)


def _packed(rng: random.Random, body: bytes, coding: str, *, spoil: bool) -> tuple[bytes, str | None]:
    """Compress a body, perhaps wrongly; return it, and what is wrong with it."""
    packed = CODINGS[coding](body)
    if not spoil or rng.random() >= _WRONG_SHARE:
        return packed, None
    refused = rng.choice(list(_REFUSALS))
    if refused == "cut off":
        packed = packed[: rng.randrange(len(packed))]
    elif refused == "followed by more":
        packed += rng.choice((b"\0", packed, b"{}"))
    elif refused == "a bomb":
        packed = _bomb(coding)
    return packed, refused


@cache
def _bomb(coding: str) -> bytes:
    return CODINGS[coding](bytes(_BOMB))


def _encode(request: Mapping[str, Any]) -> bytes:
    return json.dumps({**request, "top_n": 10}).encode()


def fuzz_forms(source: RequestSource, target: Target, count: int, seed: int, folder: Path) -> Findings:
    """Send `count` requests made of `source`; each that is answered wrongly is kept in `folder`."""
    rng, findings = random.Random(seed), Findings()
    with KeepAliveClient(target.ports["public"]) as client:
        while findings.cases < count and len(findings.unexpected) < _MOST_FAULTS:
            case = make_form_case(rng, source)
            message = post_message(case.body, headers=case.headers)
            status, body = client.send(message)
            findings.cases += 1
            findings.statuses[status] += 1
            wanted = None if case.objects is None else client.send(post_message(case.objects))[1]
            fault = judge_form(case, status, body, wanted)
            if fault is not None:
                path = folder / f"forms-{seed}-{findings.cases}.json"
                StreamCase("public", (message,), case.done, 1, 1, sound=False).save(path, fault)
                findings.add(f"{fault} [{', '.join(case.done)}]", path)
    findings.add(target.fault())
    return findings


def judge_form(case: FormCase, status: int, body: bytes, wanted: bytes | None) -> str | None:
    """Say what is unexpected about an answer, or None.

    `wanted` is the answer to the objects, where it must be the same.
    """
    answer = json.loads(body)
    if status != case.status:
        return f"status {status} instead of {case.status}: {answer.get('detail')}"
    if status == 422:
        named = [error["field"] for error in answer["errors"]]
        return None if named == [case.named] else f"{named} is named instead of {case.named}"
    if status != 200:
        return None if answer["type"] == _PROBLEM + case.named else f"the problem is {answer['type']}"
    if problem := list_problem(case.payload, body):
        return f"the list {problem}"
    if wanted is not None and answer["items"] != json.loads(wanted).get("items"):
        return "the list is not that of the objects"
    return None
