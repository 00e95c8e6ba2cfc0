"""A model with two graphs: which one runs, and that requests with rules and without may share a run."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.manifest import GOLDEN_FILE, MODEL_FILE, RULED_FILE, RULED_GOLDEN_FILE, Manifest
from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, RULE_INPUTS, SEEN, STEP_BARS
from service.bundles.load import load_bundle
from service.bundles.model import Model
from service.inference.dispatcher import Dispatcher
from service.inference.engine import Answer, BatchArrays, RequestArrays, stack_rows, warm_fully
from service.inference.onnx import cuda as cuda_engine
from service.inference.onnx.cpu import CpuEngine
from service.inference.onnx.cuda import CudaEngine
from service.inference.onnx.session import SessionConfig, session_options
from service.inference.onnx.two_graphs import TwoGraphs, share_of_memory, with_no_rules
from service.inference.thread import InferenceThread
from tests.service.live import WAIT_SECONDS
from tests.service.tiny_bundle import Arrays, Options, write_bundle

LENGTH, SLOTS, GROUPS = 5, 15, 4


def recorded(folder: Path, *, ruled: bool = False) -> Arrays:
    manifest = Manifest.read(folder)
    tensors = manifest.ruled.inputs if ruled and manifest.ruled else manifest.inputs
    with np.load(folder / (RULED_GOLDEN_FILE if ruled else GOLDEN_FILE)) as file:
        return {t.name: file[f"input.{t.name}"] for t in tensors}


def row_of(batch: Arrays, i: int) -> Arrays:
    return {name: array[i] for name, array in batch.items()}


def random_rules(seed: int) -> Arrays:
    """Tensors of any rules at all, also of those that end a list early."""
    rng = np.random.default_rng(seed)
    shares = rng.random(5)
    found: dict[str, Any] = {
        STEP_BARS: rng.random((LENGTH, SLOTS)) < shares[0] / 2,
        MEMBERS: rng.random((SLOTS, GROUPS)) < shares[1],
        ROOM: rng.integers(0, 5, (LENGTH * (LENGTH - 1) // 2, GROUPS)),
        LIFTS: rng.uniform(-0.5, 1, SLOTS) * (shares[2] > 0.5),
        SEEN: (2 + rng.uniform(-1, 1, (LENGTH, SLOTS))) * (shares[3] > 0.5),
    }
    return {name: array.astype(np.float32) for name, array in found.items()}


@pytest.fixture(scope="module")
def model(ruled_bundle: Path) -> Model:
    return load_bundle(ruled_bundle, SessionConfig())


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_tensors_of_rules_decide_which_graph_runs(model: Model, ruled_bundle: Path) -> None:
    assert isinstance(model.engine, TwoGraphs)
    for ruled, file in ((False, MODEL_FILE), (True, RULED_FILE)):
        batch = recorded(ruled_bundle, ruled=ruled)
        assert_same(model.engine.run(batch), CpuEngine(ruled_bundle / file, SessionConfig(), "sha").run(batch))
    orders = [model.engine.run(recorded(ruled_bundle, ruled=ruled))["order"] for ruled in (False, True)]
    assert np.array_equal(orders[0][0], orders[1][0]), "the first recorded request has no rules"
    assert not np.array_equal(orders[0][1], orders[1][1])


def test_a_bundle_with_one_graph_has_its_engine_and_nothing_around_it(tiny_model: Model) -> None:
    assert type(tiny_model.engine) is CpuEngine


@settings(max_examples=40)
@given(seeds=st.lists(st.none() | st.integers(0, 10_000), min_size=2, max_size=8))
def test_every_row_of_a_mixed_batch_gets_what_it_gets_alone(
    model: Model, ruled_bundle: Path, seeds: list[int | None]
) -> None:
    plain = recorded(ruled_bundle)
    rows = [
        row_of(plain, i % 4) if seed is None else {**row_of(plain, i % 4), **random_rules(seed)}
        for i, seed in enumerate(seeds)
    ]
    batch = stack_rows(rows)
    assert (STEP_BARS in batch) == any(seed is not None for seed in seeds)
    together = model.engine.run(batch)
    for i, row in enumerate(rows):
        assert_same(row_of(together, i), row_of(model.engine.run(stack_rows([row])), 0))


def rules_of(slots: int) -> Arrays:
    """Tensors of rules for so many slots, of two steps and two groups, with no zero in them."""
    shapes = {STEP_BARS: (2, slots), MEMBERS: (slots, 2), ROOM: (1, 2), LIFTS: (slots,), SEEN: (2, slots)}
    return {"valid": np.ones(slots, np.bool_), **{name: np.ones(shape, np.float32) for name, shape in shapes.items()}}


@pytest.mark.parametrize("slots", [2, 3, 5])
def test_rows_without_the_tensors_of_rules_have_zeros_for_them_among_others(slots: int) -> None:
    """All are padded to the most slots of any row, with rules or without."""
    plain: Arrays = {"valid": np.ones(3, np.bool_)}
    most, ruled = max(3, slots), rules_of(slots)
    for rows in ([plain, ruled, plain], [ruled, plain, plain]):
        batch = stack_rows(rows)
        assert batch["valid"].sum(axis=1).tolist() == [len(row["valid"]) for row in rows]
        for name, array in rules_of(most).items():
            assert (batch[name].dtype, batch[name].shape) == (array.dtype, (3, *array.shape)), name
        for name in RULE_INPUTS:
            assert [int(found.sum()) for found in batch[name]] == [ruled[name].size if r is ruled else 0 for r in rows]
    assert stack_rows([plain, plain]).keys() == {"valid"}


def test_the_inference_thread_runs_requests_with_rules_and_without_together(model: Model, ruled_bundle: Path) -> None:
    plain = recorded(ruled_bundle)
    rows = [{**row_of(plain, i), **(random_rules(i) if i % 2 else {})} for i in range(4)]
    batches: list[BatchArrays] = []
    go, began = threading.Event(), threading.Event()

    class Watched(TwoGraphs):
        def __init__(self) -> None:
            self.provider, self.largest_batch, self.thread_safe = "cpu", 8, True

        def run(self, batch: BatchArrays) -> Arrays:
            batches.append(batch)
            began.set()
            assert go.wait(WAIT_SECONDS)
            return model.engine.run(batch)

    async def ask(dispatcher: Dispatcher) -> list[Answer]:
        engine = Watched()
        first = asyncio.create_task(dispatcher.run(engine, rows[0]))
        assert await asyncio.to_thread(began.wait, WAIT_SECONDS)
        others = [asyncio.create_task(dispatcher.run(engine, row)) for row in rows]
        while dispatcher.depth < len(rows):
            await asyncio.sleep(0.001)
        go.set()
        await first
        return list(await asyncio.gather(*others))

    with contextlib.closing(InferenceThread()) as thread:
        answers = asyncio.run(ask(Dispatcher(thread)))
    assert [STEP_BARS in batch for batch in batches] == [False, True]
    for row, answer in zip(rows, answers, strict=True):
        assert answer.batch_size == 4
        assert_same(answer.outputs, row_of(model.engine.run(stack_rows([row])), 0))


class Noting(CpuEngine):
    """Notes the rows of every run, and which tensors of rules it had."""

    def __init__(self, path: Path, config: SessionConfig) -> None:
        super().__init__(path, config, "sha")
        self.runs: list[tuple[int, frozenset[str]]] = []
        self.bars: set[float] = set()

    def run(self, batch: BatchArrays) -> Arrays:
        self.runs.append((len(batch["valid"]), frozenset(batch) & set(RULE_INPUTS)))
        self.bars.add(float(np.asarray(batch.get(STEP_BARS, np.zeros(1)), np.float64).max()))
        return super().run(batch)


@pytest.mark.parametrize("ruled", [False, True])
def test_both_graphs_are_warmed_in_every_batch_size_whether_or_not_the_request_has_rules(
    ruled_bundle: Path, ruled: bool
) -> None:
    config = SessionConfig(max_batch=3)
    graphs = [Noting(ruled_bundle / file, config) for file in (MODEL_FILE, RULED_FILE)]
    row: RequestArrays = row_of(recorded(ruled_bundle, ruled=ruled), 1)
    warm_fully(TwoGraphs(*graphs), stack_rows([row]))
    assert set(graphs[0].runs) == {(rows, frozenset()) for rows in (1, 2, 3)}
    assert set(graphs[1].runs) == {(rows, frozenset(RULE_INPUTS)) for rows in (1, 2, 3)}
    assert graphs[1].bars == {float(ruled)}


def test_zeros_for_the_tensors_of_rules_follow_the_request_in_free_axes(ruled_bundle: Path) -> None:
    ruled = Manifest.read(ruled_bundle).ruled
    assert ruled is not None
    batch = {**recorded(ruled_bundle), "width": np.zeros(1)}
    found = with_no_rules(batch, ruled.inputs)
    assert {name: found[name].shape for name in RULE_INPUTS} == {
        STEP_BARS: (4, LENGTH, SLOTS),
        MEMBERS: (4, SLOTS, GROUPS),
        ROOM: (4, 10, GROUPS),
        LIFTS: (4, SLOTS),
        SEEN: (4, LENGTH, SLOTS),
    }
    assert not any(found[name].any() for name in RULE_INPUTS)
    assert found.keys() == batch.keys() | set(RULE_INPUTS)


def test_a_limit_of_device_memory_is_shared_by_the_two_graphs() -> None:
    limits = [share_of_memory(SessionConfig(gpu_mem_limit_mb=limit)).gpu_mem_limit_mb for limit in (0, 1, 2, 1000)]
    assert limits == [0, 1, 1, 500], "0 stands for no limit"


def test_both_optimised_graphs_are_kept_and_used_again(ruled_bundle: Path, tmp_path: Path) -> None:
    config = SessionConfig(cache_folder=tmp_path / "graphs")
    expected = load_bundle(ruled_bundle, config).engine.run(recorded(ruled_bundle, ruled=True))
    entries = set((tmp_path / "graphs").iterdir())
    assert len(entries) == 2
    model = load_bundle(ruled_bundle, config)
    assert set((tmp_path / "graphs").iterdir()) == entries
    assert_same(model.engine.run(recorded(ruled_bundle, ruled=True)), expected)


class Uncapturable:
    """A session on CPU that fails where it would be captured."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, *_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Let the CUDA engine open sessions on CPU; those of the files named in the set cannot be captured."""
    uncapturable: set[str] = set()

    def open_session(path: Path, config: SessionConfig, *, graphs: bool) -> Any:
        session = ort.InferenceSession(str(path), session_options(config), providers=["CPUExecutionProvider"])
        return Uncapturable(session) if graphs and path.name in uncapturable else session

    monkeypatch.setattr(cuda_engine, "_session", open_session)
    monkeypatch.setattr(cuda_engine, "_DEVICE", "cpu")
    monkeypatch.setattr(cuda_engine, "_why_no_capture", lambda _: None)
    return uncapturable


@pytest.mark.parametrize("uncapturable", [None, MODEL_FILE, RULED_FILE])
def test_on_a_device_each_graph_has_its_own_shapes_and_captures(
    model: Model, ruled_bundle: Path, on_cpu: set[str], uncapturable: str | None
) -> None:
    """If one cannot be captured, only that one runs node by node."""
    on_cpu |= {uncapturable} if uncapturable else set()
    config = SessionConfig("cuda", max_batch=3)
    graphs = [CudaEngine(ruled_bundle / file, config) for file in (MODEL_FILE, RULED_FILE)]
    engine = TwoGraphs(*graphs)
    plain, ruled = recorded(ruled_bundle), recorded(ruled_bundle, ruled=True)
    warm_fully(engine, stack_rows([row_of(ruled, 1)]))
    assert [graph.captured > 0 for graph in graphs] == [uncapturable != file for file in (MODEL_FILE, RULED_FILE)]
    rows = [row_of(plain, 0), row_of(ruled, 2), row_of(plain, 3)]
    for chosen in (rows, rows[:1], rows[1:2], rows[::2]):
        batch = stack_rows(chosen)
        assert_same(engine.run(batch), model.engine.run(batch))


def test_graphs_that_are_given_the_sorts_list_are_mixed_too(tmp_path: Path) -> None:
    """A bundle with the sort's list has both graphs too, and they take it."""
    model = load_bundle(write_bundle(tmp_path, Options(groups=GROUPS, knows_sort=True)), SessionConfig())
    folder = tmp_path / "tiny" / "1"
    plain, ruled = row_of(recorded(folder), 0), row_of(recorded(folder, ruled=True), 1)
    together = model.engine.run(stack_rows([plain, ruled]))
    for i, row in enumerate((plain, ruled)):
        assert_same(row_of(together, i), row_of(model.engine.run(stack_rows([row])), 0))
