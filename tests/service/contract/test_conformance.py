"""Schemathesis finds nothing between what the documents of both ports say and what the service answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.resilience.fuzz.schemas import fuzz_schemas
from loadtest.resilience.fuzz.target import running_target
from models.contract.manifest import EMBEDDED_BUNDLES

CASES = 100
SEED = 1


@pytest.mark.long
def test_answers_are_what_the_documents_say(tmp_path: Path) -> None:
    with running_target(EMBEDDED_BUNDLES, tmp_path / "log") as target:
        findings = fuzz_schemas(target, CASES, SEED, tmp_path)
    assert [finding.fault for finding in findings.unexpected] == []
    assert findings.statuses[200] > CASES // 20, findings.statuses
    assert findings.statuses[422] > CASES // 20, findings.statuses
