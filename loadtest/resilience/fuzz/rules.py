"""Send random rules, right and wrong, and check the answers.

Good rules must be kept, and a refusal must name the field that is wrong.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Final

from loadtest.requests.rules import SPOILS, rule_problem, ruled_request
from loadtest.resilience.fuzz.findings import Findings
from loadtest.resilience.fuzz.mutations import StreamCase
from loadtest.resilience.fuzz.target import Target
from loadtest.rig.client import KeepAliveClient, post_message

_MOST_FAULTS: Final = 50  # More tell nothing new.
_WRONG_SHARE: Final = 0.4
_NO_GRAPH: Final = "has no graph for rules"


def fuzz_rules(target: Target, count: int, seed: int, folder: Path) -> Findings:
    """Send `count` requests with rules; each that is answered wrongly is kept in `folder`."""
    rng, findings = random.Random(seed), Findings()
    with KeepAliveClient(target.ports["public"]) as client:
        while findings.cases < count and len(findings.unexpected) < _MOST_FAULTS:
            request, wrong = ruled_request(rng), None
            if rng.random() < _WRONG_SHARE:
                wrong = rng.choice(list(SPOILS))
                SPOILS[wrong][1](request)
            message = post_message(json.dumps(request).encode())
            status, body = client.send(message)
            findings.cases += 1
            findings.statuses[status] += 1
            fault = judge_rules(request, wrong, status, json.loads(body))
            if fault is not None:
                path = folder / f"rules-{seed}-{findings.cases}.json"
                StreamCase("public", (message,), (wrong or "rules",), 1, 1, sound=False).save(path, fault)
                findings.add(fault, path)
    findings.add(target.fault())
    return findings


def judge_rules(request: dict[str, Any], wrong: str | None, status: int, answer: dict[str, Any]) -> str | None:
    """Say what is unexpected about an answer, or None.

    `wrong` names what is wrong with the request; None: nothing.
    """
    if status == 422:
        named = [error["field"] for error in answer["errors"]]
        if wrong is not None:
            return None if named == [SPOILS[wrong][0]] else f"{wrong}: {named} is named instead of {SPOILS[wrong][0]}"
        # A bundle of an earlier release keeps no rules, and says so.
        return None if _NO_GRAPH in answer["detail"] else f"good rules are refused: {answer['detail']}"
    if status != 200:
        return f"status {status}: {answer.get('detail')}"
    return f"{wrong}: is answered" if wrong is not None else rule_problem(request, answer)
