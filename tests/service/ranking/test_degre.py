"""What a DeGRe bundle does differently: any number of slots, all candidates at once, and perhaps one mix only."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.contract.features import Encoder
from models.data.records import Candidate
from service.bundles.load import load_bundle
from service.bundles.model import Model
from service.inference.dispatcher import Dispatcher
from service.inference.onnx.session import SessionConfig
from service.inference.thread import InferenceThread
from service.ranking.warmup import warm_up
from tests.service.degre_bundle import MIX, PLACES, degre_model, write_degre_bundle
from tests.service.live import FakeEngine, Live, live_app
from tests.service.requests import candidate, check_list, request
from tests.service.tiny_bundle import SPEC

CLICK = [{"name": "click", "score": "ctr"}]
ROOM = 3 * PLACES
"""Candidates that the model can look at, however many queues they stand in."""


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A generator that was distilled for one mix."""
    folder = write_degre_bundle(tmp_path_factory.mktemp("fixed"), conditioned=False)
    return load_bundle(folder, SessionConfig())


@pytest.fixture(scope="module")
def live(fixed: Model) -> Iterator[Live]:
    with live_app(fixed) as server:
        yield server


def by_ctr(sent: dict[str, Any]) -> list[str]:
    return [c["id"] for c in sorted(sent["candidates"], key=lambda c: -c["scores"]["ctr"])]


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


@pytest.mark.parametrize(("n", "slots"), [(1, 1), (12, 12), (ROOM, ROOM), (ROOM + 9, ROOM)])
def test_only_candidates_are_encoded_and_no_empty_slots(fixed: Model, n: int, slots: int) -> None:
    engine = FakeEngine()
    with live_app(replace(fixed, engine=engine)) as server:
        sent = request(n, queues=CLICK)
        check_list(sent, server.post(sent).json)
    (batch,) = engine.batches
    assert {a.shape[1] for name, a in batch.items() if name.startswith("item_") or name == "price"} == {slots}
    assert batch["valid"].all()


def test_the_list_is_the_generators_own(live: Live) -> None:
    sent = request(12, diversity={"lambda": 1.0}, queues=CLICK)
    encoder = Encoder(SPEC)
    candidates = [Candidate(**{k: v for k, v in c.items() if k != "embedding"}) for c in sent["candidates"]]
    arrays = encoder.encode_slots(candidates, np.arange(12)) | encoder.encode_user(sent["user"], sent["context"])
    batch = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
    expected = degre_model(conditioned=False).checkpoint.generator.generate(batch, 5)[0].tolist()
    assert [item["index"] for item in live.post(sent).json["items"]] == expected


def test_the_order_of_the_request_does_not_matter(live: Live) -> None:
    sent = request(15)
    expected = ids(live.post(sent).json)
    random.Random(0).shuffle(sent["candidates"])
    assert ids(live.post(sent).json) == expected


def test_of_more_candidates_than_there_is_room_for_the_best_by_formula_are_seen(live: Live) -> None:
    sent = request(ROOM + 40, queues=CLICK, top_n=40)
    answer = live.post(sent).json
    check_list(sent, answer)
    assert [item["source"] for item in answer["items"]] == ["model"] * 5 + ["formula"] * 35
    assert set(ids(answer)[:5]) <= set(by_ctr(sent)[:ROOM])
    assert not set(ids(answer)[:5]) <= set(by_ctr(sent)[:5])


def test_two_queues_share_the_room_of_three(fixed: Model) -> None:
    engine = FakeEngine()
    with live_app(replace(fixed, engine=engine)) as server:
        sent = request(ROOM + 9, queues=[*CLICK, {"name": "dear", "score": "price"}])
        check_list(sent, server.post(sent).json)
    assert engine.batches[0]["valid"].shape == (1, ROOM)


def test_an_explanation_names_the_queue_that_the_candidate_stood_in(live: Live) -> None:
    """Slots are packed, so a slot's number does not say its queue."""
    sent = request(12, explain=True, queues=[{"name": "dear", "score": "price"}, {"name": "likely", "score": "ctr"}])
    items = live.post(sent).json["items"]
    dear, likely = deal(sent)
    for item in items:
        assert item["explanation"]["queue"] == ("dear" if item["id"] in dear else "likely")
    assert {item["explanation"]["queue"] for item in items} == {"dear", "likely"}
    health = live.records[-1].health
    assert health is not None
    assert health.queues == (sum(i["id"] in dear for i in items), sum(i["id"] in likely for i in items), 0)


def deal(sent: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Two queues that take turns, by price and by ctr."""
    by_price = [c["id"] for c in sorted(sent["candidates"], key=lambda c: -c["price"])]
    orders, taken = (by_price, by_ctr(sent)), (set[str](), set[str]())
    for turn in range(len(by_price)):
        taken[turn % 2].add(next(i for i in orders[turn % 2] if i not in taken[0] | taken[1]))
    return taken


def test_an_explanation_holds_the_probability_less_the_penalty_and_what_the_evaluator_expects(live: Live) -> None:
    answer = live.post(request(12, explain=True, diversity={"lambda": 0.7})).json
    seen: set[str] = set()
    for item in answer["items"]:
        why = item["explanation"]
        assert 0 <= why["score"] + why["penalty"] <= 0.7 + 1e-6
        assert why["runner_up"] not in seen | {item["id"]}
        seen.add(item["id"])
    clicks = sum(item["explanation"]["parts"]["click"] for item in answer["items"]) * 0.05 * sum(MIX.values()) / 5
    assert answer["value"]["click"] == pytest.approx(clicks, rel=1e-4)


@pytest.mark.parametrize("objectives", [{"click": 1}, {"gmv": 1.001}, {"click": 1, "conversion": 0, "gmv": 0}])
def test_another_mix_than_the_model_was_distilled_for_is_422_and_says_which(
    live: Live, objectives: dict[str, float]
) -> None:
    reply = live.post(request(objectives=objectives))
    assert reply.status == 422
    assert reply.json["errors"] == [
        {
            "field": "objectives",
            "problem": "model 'tiny' was distilled for click 5, conversion 1, gmv 1 and knows no other mix",
        }
    ]


@pytest.mark.parametrize("objectives", [{}, {"click": 5}, {"click": 10, "conversion": 2, "gmv": 2}])
def test_the_same_mix_is_answered_whatever_its_scale(live: Live, objectives: dict[str, float]) -> None:
    assert ids(live.post(request(objectives=objectives)).json) == ids(live.post(request()).json)


def test_all_weights_zero_are_still_refused_as_such(live: Live) -> None:
    reply = live.post(request(objectives={"click": 0, "conversion": 0, "gmv": 0}))
    assert reply.json["errors"][0]["problem"].startswith("are all zero")


def test_a_conditioned_model_follows_the_requests_mix(degre_model: Model) -> None:
    with live_app(degre_model) as server:
        mixes = [{"click": 1, "conversion": 0, "gmv": 0}, {"click": 0, "conversion": 0, "gmv": 1}]
        bodies = [request(12, explain=True, objectives=mix, queues=CLICK) for mix in mixes]
        first, second = ([i["explanation"]["score"] for i in server.post(body).json["items"]] for body in bodies)
        assert first != pytest.approx(second, rel=1e-3)


def test_twins_and_candidates_without_anything_get_a_list(live: Live) -> None:
    sent = request(6)
    sent["candidates"] = [candidate(0, id=str(i), embedding=None) for i in range(3)]
    sent["candidates"] += [{"id": "bare", "scores": {"ctr": 0.1, "cvr": 0.1}}]
    check_list(sent, live.post(sent).json)


def test_it_is_warmed_up_with_its_own_mix(fixed: Model) -> None:
    with contextlib.closing(InferenceThread()) as thread:
        asyncio.run(warm_up(Dispatcher(thread), fixed))


def test_the_model_page_says_what_may_be_asked_of_it(live: Live) -> None:
    (model,) = live.get("/v1/models").json["models"]
    assert (model["family"], model["fixed_objectives"], model["objectives"]) == ("degre", True, MIX)
    assert (model["list_length"], model["max_queues"]) == (5, 3)
    assert model["max_encoded"] == model["max_candidates"] == ROOM
