"""A model with a second graph for rules is warmed in both, and is refused if the second one cannot run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from models.contract.rules.tensors import RULE_INPUTS, STEP_BARS
from service.bundles.load import load_bundle
from service.bundles.model import BundleError, Model
from service.contract.decoding import decode_request
from service.inference.dispatcher import Dispatcher
from service.inference.engine import BatchArrays, stack_rows
from service.inference.onnx.session import SessionConfig
from service.inference.thread import InferenceThread
from service.ranking.dealt import deal_request, encode_request, graph_inputs
from service.ranking.example import example_request, with_rule_tensors, with_rules
from service.ranking.warmup import warm_up
from tests.service.live import FakeEngine, fake_model
from tests.service.requests import objects
from tests.service.tiny_bundle import Arrays, Options


def warm(model: Model, *, gently: bool) -> None:
    async def run() -> None:
        with contextlib.closing(InferenceThread()) as thread:
            await warm_up(Dispatcher(thread), model, gently=gently)

    asyncio.run(run())


@pytest.mark.parametrize("gently", [False, True])
def test_both_graphs_are_warmed(ruled_bundle: Path, gently: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_bundle(ruled_bundle, SessionConfig(max_batch=3))
    seen: set[tuple[bool, int]] = set()
    engine = model.engine
    for name in ("_plain", "_ruled"):
        graph = getattr(engine, name)
        run = graph.run

        def record(batch: BatchArrays, run: object = run) -> object:
            seen.add((STEP_BARS in batch, len(batch["valid"])))
            return run(batch)  # type: ignore[operator]

        monkeypatch.setattr(graph, "run", record)
    warm(model, gently=gently)
    assert seen == {(ruled, rows) for ruled in (False, True) for rows in (1, 2, 3)}


def test_one_whose_ruled_graph_cannot_run_is_refused() -> None:
    class Half(FakeEngine):
        def run(self, batch: BatchArrays) -> Arrays:
            if STEP_BARS in batch:
                raise RuntimeError("no such kernel")
            return super().run(batch)

    options = Options(groups=4)
    with pytest.raises(BundleError, match="no such kernel"):
        warm(fake_model(Half(options), options), gently=True)
    plain = Options()
    warm(fake_model(Half(plain), plain), gently=True)


def test_the_made_up_tensors_pin_cap_boost_and_know_of_shown_items(ruled_bundle: Path) -> None:
    model = load_bundle(ruled_bundle, SessionConfig())
    ruled = model.manifest.ruled
    assert ruled is not None
    request = decode_request(json.dumps(example_request(model.manifest)).encode())
    row = graph_inputs(model, encode_request(deal_request(request, model)))
    found = with_rule_tensors(row, model.manifest, ruled)
    assert all(np.asarray(found[name]).any() for name in RULE_INPUTS)
    assert {n: found[n].shape for n in RULE_INPUTS} == {t.name: t.shape[1:] for t in ruled.inputs[-5:]}
    order = model.engine.run(stack_rows([found]))["order"][0].tolist()
    assert order[1] == len(row["valid"]) - 1, "the last slot is pinned to the second place"
    even = [slot % 2 == 0 for slot in order]
    assert max(sum(even[i : i + 3]) for i in range(3)) == 2, "at most two of the even slots among any three"
    assert -1 not in order


def test_the_made_up_request_with_rules_is_a_valid_one(ruled_bundle: Path) -> None:
    manifest = load_bundle(ruled_bundle, SessionConfig()).manifest
    sent = with_rules(example_request(manifest))
    request = decode_request(json.dumps(sent).encode())
    assert request.rules is not None
    rules = request.rules.compiled()
    assert (len(rules.pinned), len(rules.caps), len(rules.boosts)) == (1, 2, 1)
    assert {name for candidate in objects(request) for name in candidate.tags or ()} == {cap.by for cap in rules.caps}
    assert objects(request)[-1].id == rules.pinned[0].id
