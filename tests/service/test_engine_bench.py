"""The engine's own benchmark: what it writes, what it answers, and what it refuses. Its figures are the machine's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from models.contract.manifest import GOLDEN_FILE, MODEL_FILE, Manifest
from service import engine_bench
from service.engine_bench import placement, read_profile
from service.inference.onnx.session import SessionConfig
from tests.service.tiny_bundle import with_checksums, write_bundle, write_manifest

QUICK = ("--provider", "cpu", "--batches", "1,3", "--runs", "25", "--seconds", "0.05")
CPU = "CPUExecutionProvider"


def test_every_size_is_timed_and_written_with_how_it_ran(
    any_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures" / "engine.json"
    assert engine_bench.main([*QUICK, "--bundle", str(any_bundle), "--json", str(file)]) == 0
    report = json.loads(file.read_text("utf-8"))
    assert [row["batch"] for row in report["rows"]] == [1, 3]
    for row in report["rows"]:
        assert 20 <= row["runs"] <= 25
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["rows_per_second"] == pytest.approx(row["batch"] / row["p50_ms"] * 1e3)
    assert (report["provider"], report["graphs"]["captured"]) == ("cpu", 0)
    assert report["golden"]["error"] is None
    assert report["golden"]["requests"] > 0
    assert report["placement"]["nodes"] > 5
    assert report["placement"]["elsewhere"] == {}
    assert "| 3 |" in capsys.readouterr().out


def test_the_graph_for_rules_can_be_timed_too(ruled_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "engine.json"
    assert engine_bench.main([*QUICK, "--ruled", "--bundle", str(ruled_bundle), "--json", str(file)]) == 0
    report = json.loads(file.read_text("utf-8"))
    assert (report["graph"], report["golden"]) == ("ruled.onnx", {"requests": 4, "error": None})
    assert [row["batch"] for row in report["rows"]] == [1, 3]
    nodes = report["placement"]["nodes"]
    assert engine_bench.main([*QUICK, "--bundle", str(ruled_bundle), "--json", str(file)]) == 0
    report = json.loads(file.read_text("utf-8"))
    assert (report["graph"], report["placement"]["nodes"] < nodes) == ("model.onnx", True)


def test_answers_other_than_the_recorded_ones_are_reported_and_the_rest_is_timed(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    with np.load(folder / GOLDEN_FILE) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["output.value"] = arrays["output.value"] + 1
    np.savez(folder / GOLDEN_FILE, allow_pickle=False, **arrays)
    write_manifest(folder, with_checksums(folder, Manifest.read(folder)))
    file_ = tmp_path / "engine.json"
    assert engine_bench.main([*QUICK, "--bundle", str(folder), "--json", str(file_)]) == 1
    report = json.loads(file_.read_text("utf-8"))
    assert "value of step 0" in report["golden"]["error"]
    assert len(report["rows"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--bundle: is missing"),
        (["--bundle", "missing"], "bundle.json"),
        (["--bundle", "BUNDLE", "--ruled"], "--ruled: the bundle has no graph for rules"),
        (["--bundle", "BUNDLE", "--batches", "0"], "--batches: must be at least 1, not 0"),
    ],
)
def test_what_is_wrong_is_named(
    bundle: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    arguments = [str(bundle) if option == "BUNDLE" else option for option in options]
    with pytest.raises(SystemExit, match="2"):
        engine_bench.main(["--provider", "cpu", "--batches", "1", "--seconds", "0", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this build has CUDA")
def test_a_probe_says_what_a_provider_lacks_with_a_status_of_its_own() -> None:
    command = [sys.executable, "-m", "service.engine_bench", "--probe", "--provider"]
    missing = subprocess.run([*command, "cuda"], capture_output=True, text=True, timeout=60, check=False)
    assert (missing.returncode, missing.stdout.count("\n")) == (3, 1)
    assert "has no CUDA provider" in missing.stdout
    works = subprocess.run([*command, "cpu"], capture_output=True, text=True, timeout=60, check=False)
    assert (works.returncode, "cpu works" in works.stdout) == (0, True)


def test_nodes_are_counted_once_per_provider_and_kind() -> None:
    def node(name: str, provider: str, kind: str) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"provider": provider, "op_name": kind}}

    found = read_profile(
        [
            {"cat": "Session", "name": "model_run"},
            node("a", "CUDA", "MatMul"),
            node("a", "CUDA", "MatMul"),
            node("b", "CUDA", "MatMul"),
            node("c", CPU, "Pad"),
            node("d", "CUDA", "MemcpyToHost"),
            node("e", "CUDA", "MemcpyFromHost"),
            {"cat": "Node", "name": "a_fence_before", "args": {"op_name": "MatMul"}},
        ]
    )
    assert found.kinds["CUDA"] == {"MatMul": 2, "MemcpyToHost": 1, "MemcpyFromHost": 1}
    assert (found.nodes("CUDA"), found.elsewhere("CUDA"), found.copies) == (4, {"Pad": 1}, 2)


def test_a_profile_finds_the_nodes_of_a_graph(bundle: Path) -> None:
    with np.load(bundle / GOLDEN_FILE) as file:
        one = {t.name: file[f"input.{t.name}"][:1] for t in Manifest.read(bundle).inputs}
    found = placement(bundle / MODEL_FILE, SessionConfig(), [CPU], one)
    assert found.kinds[CPU]["TopK"] == 1
    assert found.copies == 0
