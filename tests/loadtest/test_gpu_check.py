"""`make gpu-check`: claims nothing without a GPU, and where the CPU stands in for one, all of it runs and is told."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from loadtest import gpu_check
from loadtest.gpu_check import GpuCheck, main
from loadtest.gpu_plan import CPU, DEMO, FP16, FP32, GRAPHS, NODES, Plan, save_requests
from loadtest.gpu_report import markdown
from tests.service.tiny_bundle import write_bundle

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


def plan_of(out: Path, demo: Path, **changes: Any) -> Plan:
    options: dict[str, Any] = {
        "out": out,
        "demo": demo,
        "provider": CPU,
        "requests": 12,
        "dim": 8,
        "layers": 1,
        "seed": 0,
        "quick": True,
        **changes,
    }
    return Plan(**options)


@pytest.mark.skipif(HAS_CUDA, reason="this build has CUDA")
def test_without_a_gpu_it_says_so_in_one_sentence_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "report")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert "nothing was checked and nothing is claimed" in shown
    assert "has no CUDA provider" in shown
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "engine,kernel"], "'kernel' is none of bundles, engine, parity, service"),
        (["--requests", "0"], "--requests: must be at least 1, not 0"),
        (["--provider", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_a_wrong_option_is_named(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(options)
    assert message in capsys.readouterr().err


def test_on_a_gpu_both_precisions_and_the_demo_run_with_graphs_and_without_beside_the_cpu(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, tmp_path, provider="cuda")
    proved = {(c.bundle, c.way) for c in plan.contestants if c.held_to_cpu}
    assert proved == {(bundle, way) for bundle in (FP32, FP16, DEMO) for way in (GRAPHS, NODES)}
    assert any(c.way.provider == CPU and not c.held_to_cpu for c in plan.contestants)
    for contestant in plan.contestants:
        command = plan.engine_command(contestant)
        assert command[command.index("--batches") + 1] == "1,2,4,8,16,32,64"
        assert ("--requests" in command) == contestant.held_to_cpu
    assert {("--provider", "cuda", "--cuda-graphs", "true"), ("--provider", "cpu", "--cuda-graphs", "false")} <= {
        c.serve_options for c in plan.served
    }
    assert len({str(plan.file("engine", c, "json")) for c in plan.contestants}) == len(plan.contestants)


@pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra `train`")
@pytest.mark.slow
def test_with_the_cpu_in_its_place_lists_are_proved_and_the_engine_is_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.gpu_plan._SIZES", (1, 2, 8))
    demo = Path(gpu_check.__file__).parents[1] / "bundles" / "demo" / "1"
    sizes = ["--dim", "16", "--layers", "1", "--requests", "12", "--demo", str(demo), "--quick"]
    assert main(["--provider", "cpu", "--out", str(tmp_path), "--only", "bundles,engine,parity", *sizes]) == 0
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert [step["error"] for step in report["steps"]] == [None] * 8
    for name in (FP32, DEMO):
        for found in report["parity"][f"{name}, CPU, one thread"].values():
            assert (found["requests"], found["same"], found["different"], found["holds"]) == (12, 12, 0, True)
    for found in report["parity"][f"{FP16}, CPU, one thread"].values():
        assert 0 <= found["lost_percent"] <= found["most_lost_percent"]
    for found in report["engine"].values():
        assert [row["batch"] for row in found["rows"]] == [1, 2, 8]
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "nothing about any GPU" in text
    assert "8 of 8 steps passed" in text
    assert text in capsys.readouterr().out
    forget(tmp_path, "fp32")
    assert main(["--provider", "cpu", "--out", str(tmp_path), "--only", "parity", *sizes]) == 1
    again = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert again["engine"] == report["engine"]
    assert len(again["steps"]) == 8
    assert "answers are not those of the CPU: single, mixed" in str(again["steps"])


def forget(out: Path, bundle: str) -> None:
    """Let the answers of a bundle's engine be backwards."""
    (path,) = (out / "answers").glob(f"{bundle}-*.npz")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    backwards = {name: a[:, ::-1] if name.endswith(".order") else a for name, a in arrays.items()}
    np.savez(path, allow_pickle=False, **backwards)


def test_a_service_is_measured_at_every_concurrency_and_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "service_requests", 40)
    tiny = write_bundle(tmp_path / "out" / "bundles" / "fp32").parent
    tiny.rename(tiny.with_name("bench"))
    manifest = tiny.with_name("bench") / "1" / "bundle.json"
    manifest.write_text(manifest.read_text("utf-8").replace('"name": "tiny"', '"name": "bench"'), "utf-8")
    check = GpuCheck(plan_of(tmp_path / "out", tmp_path), ["service"])
    assert check.run(), check.report["steps"]
    (found,) = check.report["service"].values()
    assert [row["concurrency"] for row in found["rows"]] == [1, 2, 4, 8, 16]
    assert all(0 < row["p50_ms"] <= row["p99_ms"] and row["rate"] > 0 for row in found["rows"])
    overhead = found["overhead"]
    assert 0 < overhead["infer_p50_ms"] < overhead["total_p50_ms"]
    assert len(found["reload_seconds"]) == 2
    assert "## Service" in markdown(check.report)


def test_a_step_that_fails_is_told_and_the_others_still_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, tmp_path / "no" / "demo")
    check = GpuCheck(plan, ["engine", "parity"])
    assert not check.run()
    assert len(check.report["steps"]) == 6
    assert all(step["error"] for step in check.report["steps"])
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "0 of 6 steps passed" in text
    assert text.count("**failed**") == 6
    assert capsys.readouterr().out.count("FAILED: ") == 6


def test_the_figures_of_an_engine_that_ended_badly_are_kept(tmp_path: Path) -> None:
    demo = write_bundle(tmp_path / "bundles")
    with np.load(demo / "golden.npz") as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(demo / "golden.npz", allow_pickle=False, **{**arrays, "output.value": arrays["output.value"] + 1})
    plan = plan_of(tmp_path / "out", demo)
    (contestant,) = [c for c in plan.contestants if c.bundle == DEMO]
    check = GpuCheck(plan, ["engine"])
    assert not check.run()
    assert len(check.report["engine"][str(contestant)]["rows"]) == 7
    assert "value of step 0" in markdown(check.report)


def test_requests_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    demo = write_bundle(tmp_path / "bundles")
    files = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        plan = plan_of(tmp_path / out, demo, seed=seed)
        save_requests(plan, DEMO)
        with np.load(plan.requests_file(DEMO)) as file:
            files.append(file["item_scores"])
    np.testing.assert_array_equal(files[0], files[1])
    assert not np.array_equal(files[0], files[2])
    assert len(files[0]) == 12
