"""The CPU of a refusal: it is measured on the service's own code, and trees are compared in turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loadtest.cost import refusal


def test_a_refusal_is_measured_warm_and_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_WARM": 20, "_COLD": 3, "_OTHER_MEMORY": 1000}.items():
        monkeypatch.setattr(refusal, name, value)
    found = asyncio.run(refusal.cpu_us())
    assert found.keys() == {"warm", "cold"}
    assert min(found.values()) > 0


def test_a_request_that_is_not_refused_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal, "message", lambda: b"GET /v2/health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    with pytest.raises(AssertionError):
        asyncio.run(refusal.cpu_us())


def test_trees_take_turns_and_each_has_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def run(*_: object, env: dict[str, str], **__: object) -> Any:
        asked.append(env["PYTHONPATH"])
        return type("Done", (), {"stdout": b'{"warm": %d, "cold": 50}' % (10 * len(asked))})

    monkeypatch.setattr("subprocess.run", run)
    before = Path("before").resolve()
    assert refusal.main(["--before", str(before), "--blocks", "2"]) == 0
    assert asked == [str(before), str(refusal._HERE)] * 2
    assert capsys.readouterr().out.splitlines() == [
        "before: warm 20 us (10 to 30), cold 50 us (50 to 50), 2 blocks",
        "this tree: warm 30 us (20 to 40), cold 50 us (50 to 50), 2 blocks",
    ]
