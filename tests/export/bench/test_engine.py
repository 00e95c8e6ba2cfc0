"""`listwright bench` runs from end to end. What it measures is not asserted: that is the machine's business."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from export.bench.engine import interleaved
from models import cli
from tests.loadtest.tables import squeezed

REFERENCE = ", naive (PyTorch reference)"


@pytest.mark.long
def test_every_contestant_is_timed_and_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "figures" / "bench.json"
    sizes = [
        "--dim",
        "8",
        "--layers",
        "1",
        "--queues",
        "2",
        "--head-widths",
        "1",
        "2",
        "--beam-width",
        "3",
        "--long",
        "12",
    ]
    assert cli.main(["bench", "--blocks", "2", "--runs", "1", *sizes, "--json", str(figures)]) == 0
    report = json.loads(figures.read_text())
    names = [row["name"] for row in report["rows"]]
    assert names == [
        "matrix products alone",
        "L=10, h=1",
        "L=10, h=1, W=3",
        "L=10, h=2",
        "L=10, h=2, W=3",
        "L=12, h=1",
        "naive sequential (PyTorch reference)",
    ]
    assert all(row["ms"] > 0 and 0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in report["rows"])
    assert report["rows"][1]["ratio"] == 1.0
    printed = squeezed(capsys.readouterr().out)
    assert all(f"| {name} |" in printed for name in names)


def test_decoding_is_timed_with_and_without_valuing_and_shown_beside_its_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "bench.json"
    sizes = ["--dim", "8", "--layers", "1", "--evaluator-layers", "1"]
    assert cli.main(["bench", "--family", "degre", "--blocks", "2", "--runs", "1", *sizes, "--json", str(figures)]) == 0
    rows = json.loads(figures.read_text())["rows"]
    named = [f"{size}{kind}" for size in ("12 → 6", "100 → 10") for kind in ("", ", order only", REFERENCE)]
    assert [row["name"] for row in rows] == named
    assert [row["target_ms"] for row in rows] == [2.5, 2.5, None, 8.0, 8.0, None]
    assert all(0 < row["ms_low"] <= row["ms"] <= row["ms_high"] for row in rows)
    printed = squeezed(capsys.readouterr().out)
    assert all(f"| {name} |" in printed for name in named)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--evaluator-layers", "2"], "--evaluator-layers: --family sort-gen has no such option"),
        (["--family", "degre", "--queues", "2"], "--queues: --family degre has no such option"),
        (["--family", "degre", "--head-widths", "2"], "--head-widths: --family degre has no such option"),
        (["--family", "degre", "--beam-width", "2"], "--beam-width: --family degre has no such option"),
        (["--beam-width", "0"], "--beam-width: must be at least 1, not 0"),
        (["--family", "degre", "--long", "20"], "--long: --family degre has no such option"),
        (["--layers", "0"], "layers: must be at least 1, not 0"),
        (["--blocks", "0"], "--blocks: must be at least 1, not 0"),
    ],
)
def test_an_option_that_would_do_nothing_or_nothing_good_is_named(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert cli.main(["bench", *options]) == 2
    assert message in capsys.readouterr().err


def test_contestants_run_equally_often_and_slow_ones_once_a_block() -> None:
    runs = {"a": 0, "b": 0}

    def count(name: str) -> None:
        runs[name] += 1

    seconds = interleaved({"a": lambda: count("a"), "b": lambda: count("b")}, blocks=3, runs=5)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    # Twice to see whether it is slow; then each block once to warm caches and five times against the clock.
    assert runs == {"a": 2 + 3 * 6, "b": 2 + 3 * 6}
