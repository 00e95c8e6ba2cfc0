"""A request's answer does not depend on who shares its run, over real graphs of both families.

Orders may part only at a near tie: where the two choices are worth the same within 1e-5. Near ties are counted, and
must stay rare, or the comparison would say nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.demo_requests import read_demo_requests
from loadtest.requests.fake import FakeRequests
from models.contract.manifest import DEMO_BUNDLE
from service.bundles.load import load_bundle
from service.bundles.model import Model
from service.inference.engine import BatchArrays, Engine, RequestArrays, stack_rows
from service.inference.onnx.session import SessionConfig
from service.ranking.dealt import deal_request, encode_request, graph_inputs
from tests.service.live import live_app
from tests.service.requests import decoded
from tests.service.tiny_bundle import Arrays

NEAR_TIE = 1e-5


@dataclass
class Comparison:
    """Steps compared until now, and near ties at which two orders parted."""

    steps: int = 0
    near_ties: int = 0

    def add(self, alone: Arrays, together: Arrays) -> None:
        a, b = alone["order"], together["order"]
        same = np.asarray(a == b)
        until = len(a) if same.all() else int(same.argmin())
        self.steps += until
        for name in ("value", "penalty", "score"):
            np.testing.assert_allclose(alone[name][:until], together[name][:until], rtol=1e-4, atol=1e-4)
        if until < len(a):
            # Both chose from the same state, so what they chose is worth the same or one of them is wrong.
            assert abs(float(alone["score"][until]) - float(together["score"][until])) < NEAR_TIE, (a, b)
            assert b[until] >= 0
            self.near_ties += 1


@pytest.fixture(scope="module")
def demo_model() -> Model:
    return load_bundle(DEMO_BUNDLE, SessionConfig())


@pytest.fixture(params=["tiny_model", "degre_model", "demo_model"])
def model(request: pytest.FixtureRequest) -> Model:
    found: Model = request.getfixturevalue(request.param)
    return found


def draw_request(model: Model, seed: int, width: int, n: int, **changes: Any) -> dict[str, Any]:
    """A request for `model`'s spec; every fifth candidate lacks its embedding, and the last may be the first's twin."""
    made = FakeRequests(model.manifest.spec, seed=seed, embedding_width=width).request(n)
    for candidate in made["candidates"][2::5]:
        candidate.pop("embedding", None)
    if seed % 3 == 0 and n > 1:
        made["candidates"][-1] = {**made["candidates"][0], "id": "twin"}
    return {**made, **changes}


def draw_requests(model: Model, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(7)
    drawn = []
    for seed in range(count):
        weights = rng.uniform(0, 6, 3).round(3).tolist()
        drawn.append(
            draw_request(
                model,
                seed,
                width=int(rng.choice([0, 1, 3, 8, 32])),
                n=int(rng.choice([1, 2, 7, 20, 60, 90])),
                request_id=str(seed),
                objectives=dict(zip(("click", "conversion", "gmv"), weights, strict=True)),
                diversity={"lambda": float(rng.choice([0.0, 0.3, 0.8, 1.0])), "window": int(rng.integers(0, 7))},
                partition=str(rng.choice(["bfs", "dfs"])),
            )
        )
    return drawn


def to_row(model: Model, sent: dict[str, Any]) -> RequestArrays:
    return graph_inputs(model, encode_request(deal_request(decoded(sent), model)))


def run_together(model: Model, rows: Sequence[RequestArrays]) -> list[Arrays]:
    outputs = model.engine.run(stack_rows(rows))
    return [{name: np.asarray(array[i]) for name, array in outputs.items()} for i in range(len(rows))]


def test_answers_of_a_batch_are_those_of_single_runs(model: Model) -> None:
    rows = [to_row(model, sent) for sent in draw_requests(model, 96)]
    alone = [run_together(model, [row])[0] for row in rows]
    order = np.random.default_rng(1).permutation(len(rows)).tolist()
    found = Comparison()
    for size in (2, 3, 5, 8):
        for at in range(0, len(order) - size + 1, size):
            chosen = order[at : at + size]
            for i, together in zip(chosen, run_together(model, [rows[i] for i in chosen]), strict=True):
                found.add(alone[i], together)
    assert found.steps > 1000
    assert found.near_ties <= found.steps / 200, f"{found.near_ties} near ties in {found.steps} steps"


def test_rows_of_a_batch_really_differ_in_shape(degre_model: Model) -> None:
    rows = [to_row(degre_model, sent) for sent in draw_requests(degre_model, 30)]
    assert len({row["embeddings"].shape[1] for row in rows}) > 3
    assert len({row["valid"].shape[0] for row in rows}) > 3


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    weight = st.sampled_from([0.0, 1e-3, 1.0, 5.0, 1e6])
    objectives = {"click": draw(weight), "conversion": draw(weight), "gmv": draw(st.sampled_from([1e-3, 1.0, 1e6]))}
    return {
        "seed": draw(st.integers(0, 10_000)),
        "width": draw(st.integers(0, 12)),
        "n": draw(st.integers(1, 70)),
        "objectives": objectives,
        "diversity": {"lambda": draw(st.sampled_from([0.0, 0.5, 1.0])), "window": draw(st.sampled_from([0, 1, 4, 99]))},
    }


@settings(max_examples=25)
@given(wishes=st.lists(plans(), min_size=2, max_size=8))
@pytest.mark.parametrize("which", ["tiny_model", "degre_model", "demo_model"])
def test_no_company_changes_an_answer(request: pytest.FixtureRequest, which: str, wishes: list[dict[str, Any]]) -> None:
    model: Model = request.getfixturevalue(which)
    rows = [to_row(model, draw_request(model, **wish)) for wish in wishes]
    found = Comparison()
    for row, together in zip(rows, run_together(model, rows), strict=True):
        found.add(run_together(model, [row])[0], together)


class Gathering:
    """An engine whose first run waits until told, so that the next ones find company."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.provider = inner.provider
        self.largest_batch = inner.largest_batch
        self.thread_safe = inner.thread_safe
        self.go = threading.Event()
        self.sizes: list[int] = []

    def run(self, batch: BatchArrays) -> dict[str, Any]:
        self.sizes.append(len(batch["valid"]))
        assert self.go.wait(10)
        return self.inner.run(batch)

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        return self.inner.warm_runs(batch)


@pytest.fixture
def gathering(model: Model) -> Iterator[Gathering]:
    engine = Gathering(model.engine)
    yield engine
    engine.go.set()


def items(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(item["id"], item["index"], item["position"], item["source"]) for item in answer["items"]]


def test_over_http_the_lists_of_requests_that_ran_together_are_those_of_requests_alone(
    model: Model, gathering: Gathering
) -> None:
    requests = [{**sent, "explain": True} for sent in draw_requests(model, 17)]
    if model.name == "demo":
        requests += [{**sent, "explain": True} for sent in read_demo_requests()]
    with live_app(model) as live:
        alone = [live.post(sent).json for sent in requests]
    with live_app(replace(model, engine=gathering)) as live, ThreadPoolExecutor(len(requests)) as pool:
        asked = [pool.submit(live.post, requests[0])]
        while not gathering.sizes:  # the first must be alone: two that arrive at once would share the run
            assert not asked[0].done()
            time.sleep(0.001)
        asked += [pool.submit(live.post, sent) for sent in requests[1:]]
        while live.series("rerank_queue_depth") != len(requests) - 1:
            assert not any(one.done() for one in asked)
        gathering.go.set()
        together = [one.result().json for one in asked]
    assert max(gathering.sizes) == model.engine.largest_batch
    different = 0
    for one, other in zip(alone, together, strict=True):
        assert other["degraded"] is None
        if items(one) != items(other):
            different += 1
            place = next(i for i, (a, b) in enumerate(zip(items(one), items(other), strict=True)) if a != b)
            a, b = (answer["items"][place]["explanation"]["score"] for answer in (one, other))
            assert abs(a - b) < NEAR_TIE
    assert different <= 1
