"""`make gpu-check`: claims nothing without a GPU, and where the CPU stands in for one, all of it runs and is told."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import onnxruntime as ort
import pytest

from loadtest import gpu_check
from loadtest.cost import sheet
from loadtest.requests.forms import FORMS
from loadtest.rig.openloop.build import why_unavailable
from tests.documents import ROOT
from tests.loadtest.tables import squeezed

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


@pytest.mark.skipif(HAS_CUDA, reason="this build has CUDA")
def test_without_a_gpu_it_says_so_in_one_sentence_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_check.main(["--out", str(tmp_path / "bundles")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert "nothing was checked and nothing is claimed" in shown
    assert "has no CUDA provider" in shown
    assert not (tmp_path / "bundles").exists()


def test_a_wrong_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main(["--provider", "tpu"])
    assert "invalid choice: 'tpu'" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra `train`")
@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
@pytest.mark.slow
def test_with_the_cpu_in_its_place_every_part_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    sections = [name for name in gpu_check.SECTIONS if name != "sheet"]  # Its models are not small.
    short = ["--dim", "16", "--seconds", "0.3", "--batches", "1,8", "--out", str(tmp_path), "--json", str(file)]
    short += ["--only", *sections]
    assert gpu_check.main(["--provider", "cpu", *short, "--workers", "2", "--in-flight", "3"]) == 0
    shown = squeezed(capfd.readouterr().out)
    assert shown.startswith("The CPU stands in for a GPU.\n")
    assert "demo, cpu, graphs False, batches (1,): Parity(requests=12, same=12, near_ties=0, different=0" in shown
    assert shown.count("| batch | runs | p50 ms | p99 ms | rows/s |") == 3
    services = 2 * len(FORMS)
    assert shown.count("| 16 | ") == services, "it is timed up to 16 requests in flight, in both precisions"
    for n in (1, 2, 4, 8, 16):
        assert len(re.findall(rf"^\| {n} \| [\d.]+ \| [\d.]+ \| \d+ \|$", shown, re.MULTILINE)) == services
    alone = re.findall(r"^\| \|( [\d.]+ \|){3} ([\d.]+), ([\d.]+) \|", shown, re.MULTILINE)
    assert len(alone) == services, "each service is reloaded twice"
    assert all(float(s) > 0 for _, *reloads in alone for s in reloads)
    assert "all parts passed" in shown
    figures = json.loads(file.read_text("utf-8"))
    assert (figures["failed"], figures["left_out"], len(figures["parts"])) == ([], [], 2 + 3 + services)
    for layout in ("one process", "2 workers, 1 engine process"):
        assert [row["in_flight"] for row in figures["parts"][f"scaling: cpu, graphs False, {layout}"]["rows"]] == [3]
    assert "service: fp16, cpu, graphs False, catalogue" in figures["parts"]
    service = figures["parts"]["service: fp32, cpu, graphs False"]
    assert [row["requests in flight"] for row in service["closed"]] == [1, 2, 4, 8, 16]
    assert service["alone"]["total_p50"] > service["alone"]["infer_p50"] > 0
    assert len(service["reloads_s"]) == 2
    assert figures["parts"]["engine: demo, cpu, graphs False"]["golden"]["error"] is None


def test_a_part_that_fails_is_named_and_the_others_still_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "_MODULE", ("false",))
    monkeypatch.setattr(gpu_check, "why_not", lambda _: None)
    assert gpu_check.main(["--provider", "cpu", "--out", str(tmp_path)]) == 1
    failed = capsys.readouterr().out.splitlines()[-1]
    assert failed.startswith(
        "failed: bundle fp32; bundle fp16; lists against the CPU's; scaling: cpu, graphs False, one"
    )
    order = [
        "12 workers, 1 engine process; bundle d = 32, L = 10; sheet: d = 32",
        "sheet: d = 128, L = 50, cpu",
        "engine: fp32",
    ]
    places = [failed.index(part) for part in order]
    assert places == sorted(places)
    assert failed.endswith("service: fp16, cpu, graphs False, columns; service: fp16, cpu, graphs False, catalogue")


def test_a_part_that_takes_too_long_is_named_and_the_others_still_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "_MODULE", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(gpu_check, "_TIMEOUT", 0.05)
    monkeypatch.setattr(gpu_check, "why_not", lambda _: None)
    assert gpu_check.main(["--provider", "cpu", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "timed out after" in shown
    assert shown.splitlines()[-1].startswith("failed: bundle fp32; bundle fp16; lists against the CPU's; scaling: cpu")


@pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra `train`")
@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
@pytest.mark.slow
def test_the_layouts_of_processes_can_be_timed_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    short = ["--only", "scaling", "--dim", "16", "--seconds", "0.3", "--workers", "1", "--in-flight", "2", "4"]
    assert gpu_check.main(["--provider", "cpu", *short, "--out", str(tmp_path), "--json", str(file)]) == 0
    figures = json.loads(file.read_text("utf-8"))
    alone, shared, engine = figures["parts"].values()
    assert alone["options"] == ["--workers", "1", "--engine-processes", "0", "--max-batch", "64"]
    assert shared["options"] == ["--workers", "1", "--engine-processes", "1", "--max-batch", "64"]
    for layout in (alone, shared):
        assert [row["in_flight"] for row in layout["rows"]] == [2, 4]
        assert all(row["rate"] > 0 and sum(row["batches"].values()) > 0 for row in layout["rows"])
        assert all(0 < row["busiest_share"] <= 1 for row in layout["rows"])
    assert [row["batch"] for row in engine["rows"]] == [2, 4, 8]
    assert not (tmp_path / "fp16").exists()
    assert "| 1 worker, 1 engine process | 4 |" in squeezed(capfd.readouterr().out)


@pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra `train`")
@pytest.mark.slow
def test_the_cost_sheet_has_the_rates_of_every_size(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "SIZES", (sheet.Size(8, 3), sheet.Size(16, 2)))
    monkeypatch.setattr(sheet, "SECONDS", 0.05)
    file = tmp_path / "figures.json"
    assert gpu_check.main(["--provider", "cpu", "--only", "sheet", "--out", str(tmp_path), "--json", str(file)]) == 0
    figures = json.loads(file.read_text("utf-8"))
    parts = ["sheet: d = 8, L = 3, cpu, graphs False", "sheet: d = 16, L = 2, cpu, graphs False"]
    assert list(figures["parts"]) == parts
    assert [row["batch"] for row in figures["parts"][parts[0]]["rows"]] == [1, 8, 64]
    shown = squeezed(capfd.readouterr().out)
    assert "| d | L | lists/s at batch 1 | lists/s at batch 8 | lists/s at batch 64 |" in shown
    assert re.search(r"^\| 8 \| 3 \|( \d+ \|){3}\n\| 16 \| 2 \|( \d+ \|){3}$", shown, re.MULTILINE)
    assert not (tmp_path / "fp32").exists()


def test_the_cost_sheet_has_the_sizes_of_the_page() -> None:
    page = (ROOT / "docs" / "performance.md").read_text("utf-8").split("\n## Cost sheet\n")[1].split("\n## ")[0]
    told = re.findall(r"^\| (\d+) \| (\d+) \|", page, re.MULTILINE)
    assert sorted((size.length, size.dim) for size in sheet.SIZES) == sorted((int(L), int(d)) for L, d in told)


def test_a_part_of_the_cost_sheet_that_failed_has_no_figures() -> None:
    rows = [{"batch": 1, "rows_per_second": 12.4}, {"batch": 64, "rows_per_second": 99.6}]
    shown = squeezed(sheet.sheet({sheet.Size(64, 10): {"rows": rows}, sheet.Size(128, 10): {}}))
    assert "| 64 | 10 | 12 | – | 100 |" in shown
    assert "| 128 | 10 | – | – | – |" in shown


def test_what_there_is_no_time_for_is_named_and_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "why_not", lambda _: None)
    short = ["--only", "scaling", "--time-limit", "1", "--workers", "4"]
    assert gpu_check.main(["--provider", "cpu", *short, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "##" not in shown
    layouts = "scaling: cpu, graphs False, one process; scaling: cpu, graphs False, 4 workers, 1 engine process"
    assert f"no time was left for: bundle fp32; {layouts}; engine: fp32" in shown
    assert "all parts passed" not in shown


def test_a_provider_that_does_not_answer_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "_MODULE", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(gpu_check, "_TIMEOUT", 0.05)
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main([])
    assert "asking for the provider took longer than 0.05 s" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--bundles", "--bundle", "--form"])
def test_an_option_without_a_use_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main([option, "x"])
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err
