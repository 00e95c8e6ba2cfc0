from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from loadtest.cost.compression import CODINGS, GZIP, ZSTD, main, measure


@pytest.mark.parametrize("coding", CODINGS)
def test_what_is_compressed_comes_back(coding: str) -> None:
    compress, decompress = CODINGS[coding]
    body = json.dumps({"candidates": [random.Random(0).random() for _ in range(100)]}).encode()
    assert decompress(compress(body)) == body
    size, ms = measure([body] * 3, coding)
    assert size == pytest.approx(len(compress(body)) / 1000)
    assert ms > 0


def test_every_size_is_measured_with_every_coding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert main(["--candidates", "5", "50", "--widths", "0", "4", "--requests", "2", "--json", str(report)]) == 0
    rows = json.loads(report.read_text("utf-8"))["rows"]
    assert [(r["width"], r["candidates"], r["coding"]) for r in rows] == [
        (width, n, coding) for width in (0, 4) for n in (5, 50) for coding in (GZIP, ZSTD)
    ]
    assert all(0 < r["compressed_kb"] < r["body_kb"] for r in rows)
    assert "decompression ms" in capsys.readouterr().out
