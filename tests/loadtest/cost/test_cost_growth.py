"""Cost growth: from tiny models over a real service to tables and plots, and figures that are drawn again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from export.matmul_rate import LARGE, Product, product_run, rate, repeats
from loadtest.cost import cost_growth
from loadtest.cost.growth import Growth, Rate, Row
from loadtest.cost.growth_report import GOODPUT_FILE, LATENCY_FILE, by_sweep, draw_goodput, draw_latency, markdown

ROW = Row(
    swept="length",
    value=10,
    mflops=38.4,
    engine_ms=1.5,
    floor_ms=0.5,
    own_floor_ms=0.75,
    fixed_ms=0.9,
    each_ms=0.6,
    service_p50_ms=2.25,
    outside_ms=0.5,
    max_batch=8,
    goodput=640.4,
)
GROWTH = Growth((ROW, replace(ROW, swept="batch", service_p50_ms=None)), (Rate("1024×1024×1024", 76.8),))


def test_a_rate_is_operations_over_time() -> None:
    assert LARGE.flops == 2 * 1024**3
    assert repeats(LARGE) == 1
    assert rate(LARGE, 0.5) == 2**32
    small = Product(3, 8, 32)
    assert rate(small, 1e-3) == repeats(small) * 2 * 3 * 8 * 32 * 1000
    product_run(small)()


def test_tables_set_measured_goodput_beside_the_planned() -> None:
    lines = markdown(GROWTH, {"length": {"10": 610.0, "50": 90.0}}).splitlines()
    assert "| 10 | 38.4 | 0.500 | 0.750 | 1.50 | 3.0 | 2.25 | 0.50 | 640 | 610 |" in lines
    assert "| 10 | 38.4 | 0.500 | 0.750 | 1.50 | 3.0 | – | 0.50 | 640 | – |" in lines
    assert lines[-1] == "| 1024×1024×1024 | 76.8 |"
    assert list(by_sweep(GROWTH.rows)) == ["length", "batch"]


def test_measured_goodput_is_drawn_too(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("planned.svg", "both.svg")]
    for path, measured in zip(paths, ({}, {"length": {"10": 610.0}}), strict=True):
        draw_goodput(path, GROWTH, measured)
    texts = [path.read_text("utf-8") for path in paths]
    assert all(text.startswith("<?xml") and "</svg>" in text for text in texts)
    assert texts[1].count("<path") > texts[0].count("<path")
    draw_latency(tmp_path / "latency.svg", GROWTH)
    assert (tmp_path / "latency.svg").stat().st_size > 1000


def test_it_measures_every_point_and_draws_it_again_with_measured_goodput(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sizes = ["--candidates", "5", "40", "--length", "3", "10", "--batch", "1", "3", "--dim", "8", "16"]
    short = ["--base-dim", "8", "--blocks", "2", "--runs", "2", "--requests", "8", "--bundles", str(tmp_path / "b")]
    assert cost_growth.main(["--out", str(out), *sizes, *short]) == 0
    report = json.loads((out / cost_growth.FIGURES_FILE).read_text("utf-8"))
    rows = [Row(**row) for row in report["rows"]]
    assert [(r.swept, r.value) for r in rows] == [
        *(("candidates", n) for n in (5, 40)),
        *(("length", n) for n in (3, 10)),
        *(("batch", n) for n in (1, 3)),
        *(("dim", n) for n in (8, 16)),
    ]
    assert all(r.floor_ms > 0 and r.own_floor_ms > 0 and r.engine_ms > 0 and r.goodput >= 0 for r in rows)
    assert [r.service_p50_ms is None for r in rows] == [False] * 4 + [True] * 2 + [False] * 2
    work = {(r.swept, r.value): r.mflops for r in rows}
    assert work["candidates", 5] == work["candidates", 40], "only Q·L candidates are ever encoded"
    assert work["batch", 3] == pytest.approx(3 * work["batch", 1])
    assert work["length", 3] < work["length", 10] == work["dim", 8] < work["dim", 16]
    capsys.readouterr()
    measured = tmp_path / "measured.json"
    measured.write_text('{"length": {"10": 123.4}}', "utf-8")
    assert cost_growth.main(["--out", str(out), "--redraw", "--measured", str(measured)]) == 0
    printed = capsys.readouterr().out
    assert "| 123 |" in printed
    assert (out / cost_growth.TABLES_FILE).read_text("utf-8") == printed
    assert (out / LATENCY_FILE).is_file()
    assert (out / GOODPUT_FILE).is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--blocks", "0"], "--blocks: must be at least 1, not 0"),
        (["--length", "0"], "--length: must be at least 1, not 0"),
        (["--candidates", "--length", "--batch", "--dim"], "nothing is swept"),
        (["--redraw"], "cost-growth.json"),
        (["--cpus", "3"], "--cpus: "),
    ],
)
def test_what_cannot_be_measured_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cost_growth.main(["--out", str(tmp_path), "--bundles", str(tmp_path / "b"), *options])
    assert message in capsys.readouterr().err


def test_measured_goodput_of_what_is_not_swept_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = tmp_path / "measured.json"
    measured.write_text('{"depth": {"3": 1}}', "utf-8")
    with pytest.raises(SystemExit, match="2"):
        cost_growth.main(["--out", str(tmp_path), "--measured", str(measured), "--redraw"])
    assert "'depth' is none of candidates, length, batch, dim" in capsys.readouterr().err
