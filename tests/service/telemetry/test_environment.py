"""A process whose environment names a folder for metrics serves, reloads and is scraped as without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.service.requests import request
from tests.service.telemetry.process import serving

ANSWERED = b'rerank_request_duration_seconds_count{model="tiny",outcome="ok",version="1"} 1.0'


@pytest.mark.long
@pytest.mark.parametrize(
    ("variable", "kind", "workers"),
    [
        ("PROMETHEUS_MULTIPROC_DIR", "missing", 1),
        ("prometheus_multiproc_dir", "file", 1),
        ("PROMETHEUS_MULTIPROC_DIR", "file", 2),
    ],
)
def test_the_variable_changes_nothing(bundle: Path, variable: str, kind: str, workers: int, tmp_path: Path) -> None:
    place = tmp_path / "metrics"
    if kind == "file":
        place.write_text("not a folder")
    flags = ("--workers", str(workers), "--budget-ms", "30000")
    with serving(bundle.parents[1], *flags, environment={variable: str(place)}) as service:
        service.wait_until_ready()
        assert service.ask("/v1/rerank", request())[0] == 200
        assert service.ask("/admin/v1/reload", {"model": "tiny"}, port=service.admin_port)[0] == 200
        status, text = service.ask("/metrics", port=service.admin_port if workers > 1 else None)
        assert status == 200
        assert ANSWERED in text
        status, log = service.stop()
    assert status == 0, log
    assert all(json.loads(line) for line in log), "nothing but log lines"
    assert list(tmp_path.iterdir()) == ([place] if kind == "file" else [])
