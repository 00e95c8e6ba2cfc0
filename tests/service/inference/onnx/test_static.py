"""Fixed shapes and buffers through ONNX Runtime. On CPU all but the capture itself; with a GPU that too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from models.contract.manifest import GOLDEN_FILE, MODEL_FILE, Manifest
from models.contract.tensor_specs import TensorSpec
from service.inference.engine import BatchArrays, warm_fully
from service.inference.onnx import cuda as cuda_engine
from service.inference.onnx.cuda import CudaEngine, provider_options
from service.inference.onnx.session import SessionConfig, session_options
from service.inference.onnx.shapes import Shape
from service.inference.onnx.static import GRAPH_ID, CaptureError, StaticEngine, cut


def session_of(folder: Path) -> ort.InferenceSession:
    options = session_options(SessionConfig())
    return ort.InferenceSession(str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"])


def static(folder: Path, session: Any = None, *, graphs: bool = False, largest: int = 3) -> StaticEngine:
    return StaticEngine(
        session or session_of(folder), provider="cpu", largest_batch=largest, device="cpu", graphs=graphs
    )


def golden(folder: Path, rows: slice = slice(None)) -> BatchArrays:
    names = [t.name for t in Manifest.read(folder).inputs]
    with np.load(folder / GOLDEN_FILE) as file:
        return {name: file[f"input.{name}"][rows] for name in names}


class Recorded:
    """A session that notes the graph id of every run, and may spoil the answers of captured ones."""

    def __init__(self, session: ort.InferenceSession, *, stale_from: int | None = None) -> None:
        self._session = session
        self._stale_from = stale_from
        self.ids: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: Any, options: ort.RunOptions) -> None:
        graph_id = int(options.get_run_config_entry(GRAPH_ID))
        self.ids.append(graph_id)
        if graph_id > 0 and self._stale_from is not None and self.ids.count(graph_id) > self._stale_from:
            return  # The outputs stay as they are.
        self._session.run_with_iobinding(binding, options)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_padded_runs_answer_as_plain_ones_and_with_as_many_rows(any_bundle: Path, rows: int) -> None:
    engine, session = static(any_bundle, largest=4), session_of(any_bundle)
    for start in (0, 1):  # the second run overwrites the first one's buffers
        batch = golden(any_bundle, slice(start, start + rows))
        expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(batch)), strict=True))
        found = engine.run(batch)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert len(found[name]) == rows
            assert np.allclose(found[name], array, rtol=1e-4, atol=1e-5), name


def test_answers_are_not_overwritten_by_the_next_run(any_bundle: Path) -> None:
    engine = static(any_bundle)
    first = engine.run(golden(any_bundle, slice(0, 1)))
    kept = {name: array.copy() for name, array in first.items()}
    engine.run(golden(any_bundle, slice(1, 2)))
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array)


def test_too_many_rows_are_refused(bundle: Path) -> None:
    with pytest.raises(ValueError, match="larger than the largest, 3"):
        static(bundle).run(golden(bundle))


def test_without_graphs_nothing_is_captured(bundle: Path) -> None:
    session = Recorded(session_of(bundle))
    engine = static(bundle, session)
    warm_fully(engine, golden(bundle, slice(0, 1)))
    engine.run(golden(bundle, slice(0, 2)))
    assert engine.captured == 0
    assert set(session.ids) == {-1}


def test_with_graphs_every_warmed_shape_has_an_id_of_its_own_and_runs_under_it(bundle: Path) -> None:
    session = Recorded(session_of(bundle))
    engine = static(bundle, session, graphs=True)
    warm_fully(engine, golden(bundle, slice(0, 1)))
    assert engine.captured == len(list(engine.shapes.to_warm()))
    session.ids.clear()
    served = [golden(bundle, slice(0, rows)) for rows in (1, 2, 3)]
    for batch in served:
        engine.run(batch)
    assert len(set(session.ids)) == 3
    assert min(session.ids) > 0
    engine.run(served[0])
    assert session.ids[-1] == session.ids[0]


def test_a_shape_that_was_not_captured_runs_node_by_node(bundle: Path) -> None:
    session = Recorded(session_of(bundle))
    engine = static(bundle, session, graphs=True)
    warm_fully(engine, golden(bundle, slice(0, 1)))
    wide = dict(golden(bundle, slice(0, 1)))
    wide["embeddings"] = np.pad(wide["embeddings"], [(0, 0), (0, 0), (0, 300)])
    found, expected = engine.run(wide), engine.run(golden(bundle, slice(0, 1)))
    assert session.ids[-2] == -1
    np.testing.assert_array_equal(found["order"], expected["order"])


@pytest.mark.parametrize("stale_from", [0, 3, 4])
def test_a_replay_that_answers_otherwise_is_found(bundle: Path, stale_from: int) -> None:
    engine = static(bundle, Recorded(session_of(bundle), stale_from=stale_from), graphs=True)
    with pytest.raises(CaptureError, match="gives another"):
        warm_fully(engine, golden(bundle, slice(0, 1)))


class Forgetful(Recorded):
    """A session whose captured runs leave one output as it was."""

    def __init__(self, session: ort.InferenceSession, output: str) -> None:
        super().__init__(session)
        self._place = [o.name for o in session.get_outputs()].index(output)

    def run_with_iobinding(self, binding: Any, options: ort.RunOptions) -> None:
        value = binding.get_outputs()[self._place]
        before = value.numpy().copy()
        super().run_with_iobinding(binding, options)
        if self.ids[-1] > 0:
            value.update_inplace(before)


@pytest.mark.parametrize("output", ["order", "score", "kept_sort"])
def test_a_replay_that_leaves_any_one_output_as_it_was_is_found(sort_bundle: Path, output: str) -> None:
    engine = static(sort_bundle, Forgetful(session_of(sort_bundle), output), graphs=True)
    with pytest.raises(CaptureError, match=f"gives another '{output}'"):
        warm_fully(engine, golden(sort_bundle, slice(0, 1)))


def test_a_check_without_candidates_is_one_without_a_sorts_list_too(sort_bundle: Path) -> None:
    runs: list[BatchArrays] = []

    class Watched(StaticEngine):
        def _run(self, shape: Shape, batch: BatchArrays, graph_id: int) -> Any:
            runs.append(batch)
            return super()._run(shape, batch, graph_id)

    engine = Watched(session_of(sort_bundle), provider="cpu", largest_batch=1, device="cpu", graphs=True)
    warm_fully(engine, golden(sort_bundle, slice(0, 1)))
    empty = [run for run in runs if not run["valid"].any()]
    assert empty
    assert all((run["sort_slots"] == -1).all() for run in empty)


def test_of_the_sorts_list_what_is_cut_off_is_left_out() -> None:
    inputs = (TensorSpec("valid", "bool", ("B", "N")), TensorSpec("sort_slots", "int64", ("B", 4)))
    batch = {"valid": np.ones((1, 6), bool), "sort_slots": np.array([[5, 0, 4, 2]])}
    found = cut(batch, inputs, Shape(1, (("N", 4),)))
    assert found["sort_slots"].tolist() == [[0, 2, -1, -1]]
    assert found["valid"].shape == (1, 4)


def on_cpu(monkeypatch: pytest.MonkeyPatch, sessions: dict[bool, Any]) -> None:
    """Let the CUDA engine open these instead, by whether graphs are on; an exception is raised."""

    def open_session(_path: Path, _config: SessionConfig, *, graphs: bool) -> Any:
        if isinstance(sessions[graphs], Exception):
            raise sessions[graphs]
        return sessions[graphs]

    monkeypatch.setattr(cuda_engine, "_session", open_session)
    monkeypatch.setattr(cuda_engine, "_DEVICE", "cpu")


def test_a_graph_that_cannot_be_captured_serves_without_and_says_so(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on_cpu(monkeypatch, {True: RuntimeError("nodes on the CPU"), False: session_of(bundle)})
    engine = CudaEngine(bundle / MODEL_FILE, SessionConfig("cuda"))
    warm_fully(engine, golden(bundle, slice(0, 1)))
    assert len(engine.run(golden(bundle, slice(0, 2)))["order"]) == 2
    assert [r.message for r in caplog.records if "CUDA graphs are off" in r.message and "nodes on the CPU" in r.message]


def test_a_replay_that_fails_its_check_turns_graphs_off(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on_cpu(monkeypatch, {True: Recorded(session_of(bundle), stale_from=4), False: session_of(bundle)})
    engine = CudaEngine(bundle / MODEL_FILE, SessionConfig("cuda"))
    warm_fully(engine, golden(bundle, slice(0, 1)))
    assert "gives another" in caplog.text
    expected = static(bundle).run(golden(bundle, slice(0, 2)))
    np.testing.assert_array_equal(engine.run(golden(bundle, slice(0, 2)))["order"], expected["order"])


def test_a_model_that_cannot_run_at_all_is_an_error_even_when_graphs_are_off(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Recorded):
        def run_with_iobinding(self, *_: object) -> None:
            raise MemoryError("out of device memory")

    on_cpu(monkeypatch, {False: Broken(session_of(bundle))})
    engine = CudaEngine(bundle / MODEL_FILE, SessionConfig("cuda", cuda_graphs=False))
    with pytest.raises(MemoryError, match="out of device memory"):
        warm_fully(engine, golden(bundle, slice(0, 1)))


def test_graphs_are_off_on_a_runtime_whose_replays_read_freed_memory(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on_cpu(monkeypatch, {False: session_of(bundle)})
    monkeypatch.setattr(ort, "__version__", "1.30.2")
    CudaEngine(bundle / MODEL_FILE, SessionConfig("cuda"))
    assert "they need ONNX Runtime 1.31, and this is 1.30.2" in caplog.text


def test_provider_options_follow_the_settings() -> None:
    assert provider_options(SessionConfig("cuda"), graphs=True) == {
        "enable_cuda_graph": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
    }
    limited = provider_options(SessionConfig("cuda", gpu_mem_limit_mb=512), graphs=False)
    assert (limited["enable_cuda_graph"], limited["gpu_mem_limit"]) == ("0", str(512 * 2**20))


@pytest.mark.cuda
@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_captured_shapes_answer_as_the_cpu_does(any_bundle: Path) -> None:
    engine = CudaEngine(any_bundle / MODEL_FILE, SessionConfig("cuda", max_batch=2))
    warm_fully(engine, golden(any_bundle, slice(0, 1)))
    for rows in (1, 2):
        batch = golden(any_bundle, slice(0, rows))
        expected, found = static(any_bundle).run(batch), engine.run(batch)
        for name in ("value", "penalty", "score"):
            assert np.allclose(found[name], expected[name], rtol=1e-3, atol=1e-3), name
