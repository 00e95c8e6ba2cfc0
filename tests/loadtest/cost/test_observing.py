"""The CPU of observing a request: real records, each observer by itself, and a table by tree."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.cost import observing
from models.contract.manifest import DEMO_BUNDLE
from service.bundles.load import load_bundle
from service.inference.onnx.session import SessionConfig

ROWS = [
    "metrics",
    "request log, off",
    "request log, sampled out",
    "request log, sampled in",
    "all, as by default",
]


@pytest.mark.skipif(not DEMO_BUNDLE.is_dir(), reason="make train-demo makes it")
def test_records_of_real_requests_are_observed_warm_and_cold(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sizes: dict[str, Any] = {"_RECORDS": 4, "_WARM": 40, "_COLD": 4, "_OTHER_MEMORY": 1000}
    for name, value in sizes.items():
        monkeypatch.setattr(observing, name, value)
    model = load_bundle(DEMO_BUNDLE, SessionConfig())
    records = asyncio.run(observing.records_of(model, 4))
    assert {record.choice for record in records} <= {"plan", "sort"}
    assert len({record.trace_id for record in records}) == 4
    caplog.set_level("INFO", "service.requests")
    lines = []
    rows = observing.observers(model)
    assert list(rows) == ROWS
    for name in ROWS[1:4]:
        before = len(caplog.records)
        figures = observing._figures(records, rows[name])
        assert figures.keys() == {"warm", "cold"}
        assert figures["warm"] > 0
        lines.append(len(caplog.records) - before)
    assert lines == [0, 0, 44]
    with observing.tracers(records) as traces:
        assert list(traces) == ["traces, not sampled", "traces, sampled"]
        assert all(observing._figures(records, found)["warm"] > 0 for found in traces.values())
    monkeypatch.setattr(observing, "_WHOLE", 3)
    assert asyncio.run(observing._whole(model)) > 50


def test_trees_take_turns_and_each_observer_has_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def run(command: list[str], *, env: dict[str, str], **_: object) -> Any:
        asked.append(env["PYTHONPATH"])
        assert command[1:] == [observing.__file__, "--once"]
        return type(
            "Done", (), {"stdout": json.dumps({"metrics": {"warm": 10 * len(asked), "cold": 50}, "whole": {"warm": 1}})}
        )

    monkeypatch.setattr("subprocess.run", run)
    before = Path("before").resolve()
    assert observing.main(["--before", str(before), "--blocks", "2"]) == 0
    assert asked == [str(before), str(observing._HERE)] * 2
    assert capsys.readouterr().out.splitlines() == [
        "| tree | observers | warm, µs | cold, µs |",
        "|---|---|---|---|",
        "| before | metrics | 20.0 (10.0 to 30.0) | 50.0 (50.0 to 50.0) |",
        "| before | whole | 1.0 (1.0 to 1.0) |  |",
        "| this tree | metrics | 30.0 (20.0 to 40.0) | 50.0 (50.0 to 50.0) |",
        "| this tree | whole | 1.0 (1.0 to 1.0) |  |",
    ]


def test_once_prints_its_figures_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"metrics": {"warm": 1.5, "cold": 2.5}}
    assert observing.main(["--once"], lambda: figures) == 0
    assert json.loads(capsys.readouterr().out) == figures
