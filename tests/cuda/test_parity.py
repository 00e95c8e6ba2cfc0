"""A GPU gives the CPU's lists: every request alone and in batches of several sizes, with CUDA graphs and without.

The CPU's own engine stands in where there is no GPU, so that what is asserted here is known to hold for a right engine,
and not to hold for a wrong one. ``pytest -m cuda -rP tests/cuda`` prints the figures.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from models.contract.arrays import Arrays
from models.contract.manifest import DEMO_BUNDLE, MODEL_FILE, Manifest
from service.inference.engine import Engine, warm_fully
from service.inference.onnx.choose import load_engine, why_no_cuda
from service.inference.onnx.session import SessionConfig

pytest.importorskip("torch")
from export.bench.bundle import BenchModel, bench_family, write_bench_bundle
from export.proof.requests import random_requests, stack
from export.proof.verify_value import prove_value
from tests.cuda.parity import CpuAnswers, Parity, compare_answers

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers() and why_no_cuda() is None
ON_GPU = [pytest.mark.cuda, pytest.mark.skipif(not HAS_CUDA, reason="needs an NVIDIA GPU")]
DEVICES = [
    pytest.param("cpu", False, id="cpu"),
    pytest.param("cuda", True, id="cuda-graphs", marks=ON_GPU),
    pytest.param("cuda", False, id="cuda-nodes", marks=ON_GPU),
]
MIXED = (1, 3, 8, 2, 5)
MOST_LOST = 1.0
"""Percent of list value that float16 may lose, as at export."""


def sizes(provider: str) -> tuple[BenchModel, int]:
    """The benchmark's model and 200 requests on a GPU; where the CPU stands in, a small one and a few."""
    return (BenchModel(), 200) if provider == "cuda" else (BenchModel(dim=16, layers=1), 12)


def engine_for(folder: Path, provider: str, *, graphs: bool) -> Engine:
    config = SessionConfig("cuda" if provider == "cuda" else "cpu", max_batch=max(MIXED), cuda_graphs=graphs)
    digest = Manifest.read(folder).files.get(MODEL_FILE, "")
    return load_engine(folder / MODEL_FILE, config, model_sha256=digest)


def answers(engine: Engine, requests: Sequence[Arrays], batches: Sequence[int]) -> dict[str, Any]:
    """Rows of all outputs, with the requests in batches of these sizes in turn."""
    warm_fully(engine, dict(requests[0]))
    turns, start, found = itertools.cycle(batches), 0, []
    while start < len(requests):
        size = next(turns)
        found.append(engine.run(stack(requests[start : start + size])))
        start += size
    return {name: np.concatenate([answer[name] for answer in found]) for name in found[0]}


def parity(folder: Path, found: dict[str, Any], requests: Sequence[Arrays]) -> Parity:
    cpu = CpuAnswers(folder, length=Manifest.read(folder).limits.list_length)
    return compare_answers(cpu, requests, found)


def requests_for(folder: Path, count: int) -> list[Arrays]:
    manifest = Manifest.read(folder)
    return list(random_requests(manifest.spec, manifest.limits, count, 0))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where bundles are kept, so that each is made once."""
    return tmp_path_factory.mktemp("bundles")


def bench_bundle(root: Path, model: BenchModel) -> Path:
    return write_bench_bundle(root, model, name=f"{model.precision}-{model.dim}", requests=5)


@pytest.mark.long
@pytest.mark.parametrize(("provider", "graphs"), DEVICES)
@pytest.mark.parametrize("bundle", ["fp32", "demo"])
@pytest.mark.parametrize("batches", [(1,), MIXED], ids=["single", "mixed"])
def test_lists_are_the_cpus(root: Path, provider: str, graphs: bool, bundle: str, batches: tuple[int, ...]) -> None:
    model, count = sizes(provider)
    folder = DEMO_BUNDLE if bundle == "demo" else bench_bundle(root, model)
    requests = requests_for(folder, count)
    found = parity(folder, answers(engine_for(folder, provider, graphs=graphs), requests, batches), requests)
    print(f"{bundle}, {provider}, graphs {graphs}, batches {batches}: {found}")
    assert found.requests == count
    assert found.holds, found


@pytest.mark.long
def test_lists_that_are_not_the_cpus_do_not_hold(root: Path) -> None:
    folder = bench_bundle(root, sizes("cpu")[0])
    requests = requests_for(folder, 6)
    found = answers(engine_for(folder, "cpu", graphs=False), requests, (1,))
    backwards = parity(folder, {**found, "order": found["order"][:, ::-1]}, requests)
    assert backwards.different > 0
    assert not backwards.holds
    assert not parity(folder, {**found, "value": found["value"] + 1}, requests).holds


@pytest.mark.long
@pytest.mark.parametrize(("provider", "graphs"), DEVICES)
def test_float16_loses_little_list_value(root: Path, provider: str, graphs: bool) -> None:
    model, count = sizes(provider)
    half = replace(model, precision="fp16")
    folder = bench_bundle(root, half)
    engine = engine_for(folder, provider, graphs=graphs)
    warm_fully(engine, dict(requests_for(folder, 1)[0]))
    limits = Manifest.read(folder).limits
    proof = prove_value(engine.run, bench_family(half), limits, most_lost=MOST_LOST, requests=count)
    print(f"fp16, {provider}, graphs {graphs}: {proof.summary}")
    assert proof.lost_percent <= MOST_LOST
