"""The CUDA engine: what it falls back to, which any machine can show, and what a GPU answers, which only one can."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from models.contract.manifest import DEMO_BUNDLE, GOLDEN_FILE, MODEL_FILE, Manifest
from service.inference.engine import BatchArrays, warm_fully
from service.inference.onnx import cuda as cuda_engine
from service.inference.onnx.choose import why_no_cuda
from service.inference.onnx.cpu import CpuEngine
from service.inference.onnx.cuda import CudaEngine
from service.inference.onnx.session import SessionConfig, session_options

needs_gpu = pytest.mark.skipif(
    "CUDAExecutionProvider" not in ort.get_available_providers() or why_no_cuda() is not None,
    reason="needs an NVIDIA GPU",
)


def golden(folder: Path, rows: slice = slice(None)) -> BatchArrays:
    names = [t.name for t in Manifest.read(folder).inputs]
    with np.load(folder / GOLDEN_FILE) as file:
        return {name: file[f"input.{name}"][rows] for name in names}


class Failing:
    """A session on CPU that cannot be captured."""

    def __init__(self, path: Path) -> None:
        options = session_options(SessionConfig())
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, *_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")


def test_a_session_that_failed_to_capture_is_gone_before_the_next_one_is_opened(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing: list[weakref.ref[Failing]] = []
    alive: list[bool] = []

    def open_session(path: Path, _config: SessionConfig, *, graphs: bool) -> Any:
        if graphs:
            session = Failing(path)
            failing.append(weakref.ref(session))
            return session
        gc.collect()
        alive.append(failing[0]() is not None)
        return ort.InferenceSession(str(path), session_options(SessionConfig()), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(cuda_engine, "_session", open_session)
    monkeypatch.setattr(cuda_engine, "_DEVICE", "cpu")
    monkeypatch.setattr(ort, "__version__", "1.31.0")
    engine = CudaEngine(bundle / MODEL_FILE, SessionConfig("cuda", max_batch=2))
    assert failing
    warm_fully(engine, golden(bundle, slice(0, 1)))
    assert alive == [False]
    assert engine.captured == 0
    assert engine.why_no_graphs == "operation not permitted when stream is capturing"
    assert len(engine.run(golden(bundle, slice(0, 2)))["order"]) == 2


def test_an_engine_whose_second_session_fails_too_says_so_instead_of_running(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_session(path: Path, _config: SessionConfig, *, graphs: bool) -> Any:
        if graphs:
            return Failing(path)
        raise MemoryError("out of device memory")

    monkeypatch.setattr(cuda_engine, "_session", open_session)
    monkeypatch.setattr(cuda_engine, "_DEVICE", "cpu")
    monkeypatch.setattr(ort, "__version__", "1.31.0")
    engine = CudaEngine(bundle / MODEL_FILE, SessionConfig("cuda"))
    with pytest.raises(MemoryError):
        warm_fully(engine, golden(bundle, slice(0, 1)))
    with pytest.raises(RuntimeError, match="and so did the session without them"):
        engine.run(golden(bundle, slice(0, 1)))


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("graphs", [True, False])
def test_on_a_gpu_answers_are_the_cpus_for_every_number_of_rows(any_bundle: Path, graphs: bool) -> None:
    path = any_bundle / MODEL_FILE
    cpu = CpuEngine(path, SessionConfig(), Manifest.read(any_bundle).files[MODEL_FILE])
    gpu = CudaEngine(path, SessionConfig("cuda", max_batch=4, cuda_graphs=graphs))
    warm_fully(gpu, golden(any_bundle, slice(0, 1)))
    for rows in (1, 2, 3, 4, 1):
        batch = golden(any_bundle, slice(0, rows))
        expected, found = cpu.run(batch), gpu.run(batch)
        for name in ("value", "penalty", "score"):
            assert np.allclose(found[name], expected[name], rtol=1e-3, atol=1e-3), (rows, name)
    if not graphs:
        assert (gpu.captured, gpu.why_no_graphs) == (0, "the settings say so")


@pytest.mark.cuda
@needs_gpu
def test_on_a_gpu_every_warmed_shape_of_an_exported_graph_is_captured() -> None:
    gpu = CudaEngine(DEMO_BUNDLE / MODEL_FILE, SessionConfig("cuda", max_batch=2))
    warm_fully(gpu, golden(DEMO_BUNDLE, slice(0, 1)))
    assert gpu.why_no_graphs is None
    assert gpu.captured > 0


@pytest.mark.cuda
@needs_gpu
def test_on_a_gpu_graphs_and_nodes_give_the_same_lists(any_bundle: Path) -> None:
    batch = golden(any_bundle, slice(0, 2))
    answers = []
    for graphs in (True, False):
        engine = CudaEngine(any_bundle / MODEL_FILE, SessionConfig("cuda", max_batch=2, cuda_graphs=graphs))
        warm_fully(engine, golden(any_bundle, slice(0, 1)))
        answers.append(engine.run(batch))
    np.testing.assert_array_equal(answers[0]["order"], answers[1]["order"])
