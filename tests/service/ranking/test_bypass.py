"""Where nothing is kept of what a model learnt, the sort's list is served without it; and what a model does not value.

Bundles say so in their manifest: `shares`, `valued` and `verdict`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.contract import manifest as m
from models.contract.verdict import UNMEASURED, Verdict
from service.bundles.load import load_bundle
from service.bundles.model import Model
from service.bundles.opening import LocalOpener
from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.inference.dispatcher import Dispatcher
from service.inference.engine import BatchArrays
from service.inference.onnx.session import SessionConfig
from service.inference.thread import InferenceThread
from service.ranking.warmup import warm_up
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import WAIT_SECONDS, FakeEngine, Live, fake_model, live_app
from tests.service.ranking.test_shadow import shadowed, wait_for
from tests.service.ranking.test_sort_list import choices
from tests.service.raw import connected
from tests.service.requests import candidate, check_list, request
from tests.service.tiny_bundle import Arrays, Options, write_bundle
from tests.service.transport.test_transport import eventually

CLICK_ONLY = {"click": 1, "conversion": 0, "gmv": 0}
Change = Callable[[m.Manifest], m.Manifest]


def kept(click: float, conversion: float) -> Change:
    return lambda manifest: replace(manifest, shares={"click": click, "conversion": conversion})


NOTHING = kept(0, 0)


def model(engine: FakeEngine | None = None, *, change: Change = NOTHING, **options: Any) -> Model:
    made = fake_model(engine, Options(**options))
    return replace(made, manifest=change(made.manifest))


@contextlib.contextmanager
def bypassing(change: Change = NOTHING, **options: Any) -> Iterator[tuple[Live, FakeEngine]]:
    engine = FakeEngine()
    with live_app(model(engine, change=change, **options)) as live:
        yield live, engine


def test_the_list_is_the_sorts_and_the_model_is_not_run() -> None:
    with bypassing(fallback="ctr") as (live, engine):
        sent = request(12, diversity={"lambda": 1})
        reply = live.post(sent)
        check_list(sent, reply.json)
        best = sorted(range(12), key=lambda i: -sent["candidates"][i]["scores"]["ctr"])[:5]
        assert [item["index"] for item in reply.json["items"]] == best
        assert {item["source"] for item in reply.json["items"]} == {"formula"}
        assert (reply.status, reply.json["degraded"]) == (200, None)
        assert "x-listwright-degraded" not in reply.headers
        assert reply.json["value"] == {"click": 0, "conversion": 0, "gmv": 0}
        assert (reply.json["timings_ms"]["wait"], reply.json["timings_ms"]["infer"]) == (0, 0)
    assert engine.batches == []


def test_it_is_counted_as_answered_and_as_a_choice_of_its_own() -> None:
    with bypassing() as (live, _):
        live.post(request(12, top_n=7))
        duration = "rerank_request_duration_seconds_count"
        assert live.series(duration, model="tiny", version="1", outcome="ok") == 1
        assert live.series(duration, model="tiny", version="1", outcome="degraded") == 0
        assert choices(live) == {"plan": 0, "sort": 0, "bypass": 1}
        assert live.series("rerank_list_items_total", source="formula") == 7
        assert live.series("rerank_list_displacement_count") == 1
        assert live.series("rerank_stage_duration_seconds_count", stage="infer") == 0
        assert live.records[-1].choice == "bypass"


def test_it_is_as_diverse_as_the_request_asks_for() -> None:
    with bypassing(fallback="ctr") as (live, _):
        sent = request(1, top_n=2, diversity={"lambda": 0, "window": 1})
        sent["candidates"] = [
            candidate(i, scores={"ctr": ctr, "cvr": 0.1}, embedding=vector)
            for i, (ctr, vector) in enumerate([(0.9, [1, 0]), (0.8, [1, 0.1]), (0.1, [-1, 0])])
        ]
        assert [item["index"] for item in live.post(sent).json["items"]] == [0, 2]


def test_only_what_the_request_weighs_counts() -> None:
    with bypassing(kept(0, 0.5)) as (live, engine):
        assert live.post(request(objectives=CLICK_ONLY)).json["items"][0]["source"] == "formula"
        assert engine.batches == []
        for weights in ({}, {**CLICK_ONLY, "gmv": 0.1}, {"click": 0, "conversion": 1, "gmv": 0}):
            assert live.post(request(objectives=weights)).json["items"][0]["source"] == "model"
        assert len(engine.batches) == 3
        assert choices(live) == {"plan": 3, "sort": 0, "bypass": 1}


def test_a_bundle_that_does_not_say_what_was_kept_is_never_bypassed() -> None:
    with bypassing(lambda manifest: manifest) as (live, engine):
        live.post(request())
        assert len(engine.batches) == 1


def test_where_the_sorts_formula_cannot_be_computed_the_model_decides_after_all() -> None:
    with bypassing(fallback="margin") as (live, engine):
        answer = live.post(request()).json
        assert {item["source"] for item in answer["items"]} == {"model"}
        assert answer["degraded"] is None
        assert choices(live) == {"plan": 1, "sort": 0, "bypass": 0}
    assert len(engine.batches) == 1


def test_an_explanation_is_asked_for_in_vain() -> None:
    with bypassing() as (live, _):
        items = live.post(request(explain=True)).json["items"]
        assert [set(item) for item in items] == [{"id", "index", "position", "source"}] * 5


def test_requests_that_need_no_engine_do_not_wait_for_it_nor_hide_the_queue_before_it() -> None:
    engine = Slow()
    settings: dict[str, Any] = {"queue_target_ms": 1, "queue_interval_ms": 20}
    with live_app(model(engine, change=kept(0, 0.5)), **settings) as live, connected(live.port) as waiting:
        live.post(request())  # Now it is known what a run takes.
        engine.hold.clear()
        waiting.ask(request())
        eventually(lambda: len(engine.batches) == 2)
        try:
            for _ in range(5):
                started = time.perf_counter()
                assert live.post(request(objectives=CLICK_ONLY)).json["items"][0]["source"] == "formula"
                assert time.perf_counter() - started < WAIT_SECONDS / 2  # Else it would have waited for the engine.
                time.sleep(0.02)
            assert live.series("rerank_overloaded") == 1
        finally:
            engine.hold.set()
        check_list(request(), waiting.answer().json)


class Slow(FakeEngine):
    def run(self, batch: BatchArrays) -> Arrays:
        time.sleep(0.02)
        return super().run(batch)


def test_a_shadow_that_would_be_bypassed_is_compared_by_the_sorts_list() -> None:
    engine = FakeEngine()
    with shadowed(fake_model(), model(engine, name="next")) as live:
        live.post(request(12))
        wait_for(live, scored=1)
    assert engine.batches == []


def test_lists_that_no_model_made_are_not_compared_with_a_shadow() -> None:
    with shadowed(model(), fake_model(options=Options(name="next"))) as live:
        live.post(request(12))
        wait_for(live, skipped=1)


@pytest.mark.parametrize(("shares", "mixes"), [((0, 0), 0), ((0, 0.5), 1), ((0.5, 0), 0)])
def test_the_warm_up_sends_the_model_requests_even_if_its_defaults_bypass_it(
    shares: tuple[float, float], mixes: int
) -> None:
    """By default this one is after clicks alone."""

    class Counting(FakeEngine):
        def __init__(self) -> None:
            super().__init__()
            self.weights: set[tuple[float, ...]] = set()

        def run(self, batch: BatchArrays) -> Arrays:
            self.weights |= set(map(tuple, batch["objective_weights"].tolist()))
            return super().run(batch)

    def clicks(manifest: m.Manifest) -> m.Manifest:
        return replace(kept(*shares)(manifest), objectives=CLICK_ONLY)

    engine = Counting()
    with contextlib.closing(InferenceThread()) as thread:
        asyncio.run(warm_up(Dispatcher(thread), model(engine, change=clicks)))
    assert engine.weights == {(1.0, 0.0, 0.0)} | ({(0.0, 1.0, 0.0)} if mixes else set())


def clicks_only(manifest: m.Manifest) -> m.Manifest:
    return replace(manifest, valued=("click",), objectives={"click": 5.0, "conversion": 0.0, "gmv": 0.0})


@pytest.mark.parametrize("name", ["conversion", "gmv"])
def test_a_weight_on_what_the_model_does_not_value_is_refused(name: str) -> None:
    with bypassing(clicks_only) as (live, _):
        reply = live.post(request(objectives={name: 0.5}))
        assert_problem(reply, 422, "invalid-request", f"objectives.{name}")
        assert "model 'tiny' values click only" in reply.json["detail"]


def test_defaults_and_weights_of_0_are_fine() -> None:
    with bypassing(clicks_only) as (live, engine):
        for weights in (None, {}, {"click": 2}, {"click": 1, "conversion": 0, "gmv": 0.0}, {"conversion": None}):
            assert live.post(request(objectives=weights)).status == 200
        assert engine.batches[0]["objective_weights"].tolist() == [[5, 0, 0]]


def test_models_say_what_they_are_worth_what_they_value_and_how_much_was_kept() -> None:
    verdict = Verdict("better", "It earns 12% more clicks than the sort.", ({"objective": "click"},))
    known = model(change=lambda x: replace(clicks_only(kept(0.5, 0)(x)), verdict=verdict))
    unmeasured = model(change=lambda x: replace(x, verdict=UNMEASURED), name="old")
    with live_app(known, unmeasured, default_model="tiny") as live:
        old, new = live.get("/v1/models").json["models"]
    assert new["verdict"] == {"outcome": "better", "sentence": verdict.sentence}
    assert (new["valued"], new["shares"]) == (["click"], {"click": 0.5, "conversion": 0.0})
    assert old["verdict"] == {"outcome": "unmeasured", "sentence": UNMEASURED.sentence}
    assert (old["valued"], old["shares"]) == (["click", "conversion", "gmv"], None)
    assert old["beam_width"] == 1


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        ("better", logging.INFO),
        ("same", logging.INFO),
        ("worse", logging.WARNING),
        ("sort", logging.WARNING),
        ("unmeasured", logging.WARNING),
    ],
)
def test_the_start_says_what_a_model_is_worth_and_warns_if_that_is_no_good_news(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, outcome: Any, level: int
) -> None:
    def judged(manifest: m.Manifest) -> m.Manifest:
        return replace(manifest, verdict=Verdict(outcome, "So it was found."))

    write_bundle(tmp_path, Options(change=judged))

    async def not_at_all(_: Model) -> None:
        return

    with caplog.at_level(logging.INFO, "service.bundles.reload"):
        asyncio.run(Loader(tmp_path, LocalOpener(SessionConfig()), Registry(), not_at_all).load_all())
    (line,) = [record for record in caplog.records if record.name == "service.bundles.reload"]
    assert line.message == (f"serving model tiny version 1 on cpu; beside the plain sort: {outcome}. So it was found.")
    assert line.levelno == level


def test_a_bundle_of_which_nothing_was_kept_loads_and_serves(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, Options(knows_sort=True, change=kept(0, 0)))
    with live_app(load_bundle(folder, SessionConfig())) as live:
        check_list(request(12), live.post(request(12)).json)
        assert choices(live) == {"plan": 0, "sort": 0, "bypass": 1}
