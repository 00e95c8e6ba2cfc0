"""A graph that is also given the sort's list: what the service feeds it, and what is made of its returning that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract import manifest as m
from models.contract.tensor_specs import TensorSpec
from service.bundles.graphs import check_graph
from service.bundles.load import load_bundle
from service.bundles.model import BundleError
from service.inference.onnx.session import GraphFacts, SessionConfig
from service.ranking.example import example_request
from tests.service.bundles.test_load import edit_golden, refusal
from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.ranking.test_shadow import shadowed, wait_for
from tests.service.requests import check_list, request
from tests.service.tiny_bundle import Options, make_manifest, write_bundle

KNOWS = Options(knows_sort=True)
BY_CTR = Options(knows_sort=True, fallback="ctr")
DEAR = [{"name": "dear", "score": "price"}]
CHOICES = "rerank_list_choice_total"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose fallback formula is `ctr`; do not change it."""
    return write_bundle(tmp_path_factory.mktemp("sort"), BY_CTR)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Live]:
    with live_app(load_bundle(folder, SessionConfig())) as live:
        yield live


@contextlib.contextmanager
def fed(**options: Any) -> Iterator[tuple[Live, FakeEngine]]:
    engine = FakeEngine(kept_sort=False)
    with live_app(fake_model(engine, replace(KNOWS, **options))) as live:
        yield live, engine


def choices(live: Live) -> dict[str, float | None]:
    return {choice: live.series(CHOICES, choice=choice) for choice in ("plan", "sort", "bypass")}


def by_ctr(sent: dict[str, Any], among: list[int]) -> list[int]:
    return sorted(among, key=lambda i: -sent["candidates"][i]["scores"]["ctr"])


def test_the_graph_is_given_the_prior_logits_and_the_slots_in_the_order_of_the_formula() -> None:
    with fed(fallback="ctr") as (live, engine):
        sent = request(12, queues=[*DEAR, {"name": "cheap", "score": "-price"}])
        live.post(sent)
        batch = engine.batches[-1]
    by_price = sorted(range(12), key=lambda i: -sent["candidates"][i]["price"])
    held = [*by_price[:5], *by_price[::-1][:5]]  # candidates in slots 0 to 9; the third queue is empty
    best = by_ctr(sent, held)[:5]
    assert batch["sort_slots"].tolist() == [[held.index(i) for i in best]]
    assert batch["sort_slots"].dtype == np.int64
    ctr = np.array([sent["candidates"][i]["scores"]["ctr"] for i in held])
    priors = np.asarray(batch["priors"][0], np.float64)
    np.testing.assert_allclose(priors[:10, 0], np.log(ctr / (1 - ctr)), rtol=1e-5)
    assert not priors[10:].any()


def test_the_sorts_list_ends_where_the_candidates_do_and_follows_the_weights_of_the_request() -> None:
    with fed(fallback="alpha*ctr + gamma*price") as (live, engine):
        sent = request(3, objectives={"click": 0, "conversion": 0, "gmv": 1}, queues=DEAR)
        live.post(sent)
        assert engine.batches[-1]["sort_slots"].tolist() == [[0, 1, 2, -1, -1]]
        live.post({**sent, "objectives": {"click": 1, "conversion": 0, "gmv": 0}})
        by_price = sorted(range(3), key=lambda i: -sent["candidates"][i]["price"])
        expected = [by_price.index(i) for i in by_ctr(sent, by_price)]
        assert engine.batches[-1]["sort_slots"].tolist() == [[*expected, -1, -1]]


def test_where_the_formula_cannot_be_computed_there_is_no_sorts_list() -> None:
    with fed(fallback="margin") as (live, engine):
        check_list(request(6), live.post(request(6)).json)
        assert engine.batches[-1]["sort_slots"].tolist() == [[-1] * 5]


def test_a_graph_of_before_is_given_neither() -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine)) as live:
        live.post(request())
        assert choices(live) == {"plan": 1, "sort": 0, "bypass": 0}
    assert {"priors", "sort_slots"}.isdisjoint(engine.batches[-1])


def test_where_the_sorts_list_is_worth_more_it_is_what_comes_back_and_is_counted(server: Live) -> None:
    before = choices(server)
    sent = request(12, queues=DEAR, explain=True)
    answer = server.post(sent).json
    by_price = sorted(range(12), key=lambda i: -sent["candidates"][i]["price"])
    held = by_price[:5]
    assert by_ctr(sent, held)[0] != held[0], "else the plan is as good"
    check_list(sent, answer)
    assert [item["index"] for item in answer["items"]] == by_ctr(sent, held)
    assert {item["source"] for item in answer["items"]} == {"model"}
    assert answer["degraded"] is None
    assert answer["value"]["click"] > 0
    assert [item["explanation"]["runner_up"] for item in answer["items"]] == [None] * 5
    assert {item["explanation"]["queue"] for item in answer["items"]} == {"dear"}
    assert choices(server) == {**before, "sort": (before["sort"] or 0) + 1}


def test_where_it_is_not_the_plan_comes_back(server: Live) -> None:
    before = choices(server)
    sent = request(12, queues=[{"name": "click", "score": "ctr"}], explain=True)
    items = server.post(sent).json["items"]
    assert [item["explanation"]["runner_up"] for item in items[:-1]] == [item["id"] for item in items[1:]]
    assert choices(server) == {**before, "plan": (before["plan"] or 0) + 1}


def test_a_degraded_list_is_nobodys_choice() -> None:
    engine = FakeEngine(kept_sort=True)
    engine.error = RuntimeError("broken")
    with live_app(fake_model(engine, KNOWS)) as live:
        assert live.post(request()).json["degraded"]["reason"] == "model-error"
        assert choices(live) == {"plan": 0, "sort": 0, "bypass": 0}
        assert live.records[-1].choice is None


def test_a_shadow_that_returns_the_sorts_list_is_compared_by_it() -> None:
    served, other = fake_model(), fake_model(FakeEngine(kept_sort=True), Options(name="next", knows_sort=True))
    with shadowed(served, other) as live:
        live.post(request(12))
        wait_for(live, scored=1)
        assert choices(live) == {"plan": 1, "sort": 0, "bypass": 0}, "of the lists that were given"


def test_a_golden_answer_may_not_say_otherwise_whose_list_it_is(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / m.GOLDEN_FILE) as file:
        kept = file["output.kept_sort"].tolist()
    assert set(kept) == {True, False}
    own = write_bundle(tmp_path, BY_CTR)
    plan, sort = kept.index(False), kept.index(True)

    def flip(g: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda array: np.array([kept[i] != (i == g) for i in range(len(array))])

    edit_golden(own, "output.kept_sort", flip(plan))
    assert refusal(own) == f"golden.npz: request {plan}: kept_sort is False, but True is recorded"
    edit_golden(own, "output.kept_sort", flip(sort))  # What came back is the sort's list under either name.
    load_bundle(own, SessionConfig())


def tensors(specs: tuple[TensorSpec, ...], name: str, *new: TensorSpec) -> tuple[TensorSpec, ...]:
    return (*(t for t in specs if t.name != name), *new)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda x: replace(x, outputs=tensors(x.outputs, "kept_sort")),
            "the graph has an output 'kept_sort', the manifest has not",
        ),
        (
            lambda x: replace(x, inputs=tensors(x.inputs, "sort_slots", TensorSpec("sort_slots", "int64", ("B", 4)))),
            "input 'sort_slots' has shape ['batch', 5], but the manifest says ['B', 4]",
        ),
        (
            lambda x: replace(x, outputs=tensors(x.outputs, "kept_sort", TensorSpec("kept_sort", "int64", ("B",)))),
            "output 'kept_sort' is bool, but the manifest says int64",
        ),
    ],
)
def test_a_manifest_that_says_otherwise_than_the_graph_is_refused(
    tmp_path: Path, change: Callable[[m.Manifest], m.Manifest], text: str
) -> None:
    assert text in refusal(write_bundle(tmp_path, replace(BY_CTR, change=change)))


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        ((), None, "has the output 'kept_sort' without 'sort_slots'"),
        (None, (), "has the input 'sort_slots' without 'kept_sort'"),
        ((TensorSpec("sort_slots", "int64", ("B", 4)),), None, "'sort_slots' must be int64 with 5 slots a row, not"),
        (
            (TensorSpec("sort_slots", "float32", ("B", 5)),),
            None,
            "'sort_slots' must be int64 with 5 slots a row, not",
        ),
        (None, (TensorSpec("kept_sort", "bool", ("B", 5)),), "'kept_sort' must be one bool a row, not bool ['B', 5]"),
    ],
)
def test_a_graph_that_knows_only_half_of_it_is_refused(
    inputs: tuple[TensorSpec, ...] | None, outputs: tuple[TensorSpec, ...] | None, text: str
) -> None:
    made = make_manifest(KNOWS)
    ins = made.inputs if inputs is None else tensors(made.inputs, "sort_slots", *inputs)
    outs = made.outputs if outputs is None else tensors(made.outputs, "kept_sort", *outputs)
    manifest = replace(made, inputs=ins, outputs=outs)
    with pytest.raises(BundleError) as caught:
        check_graph(manifest, GraphFacts(manifest.spec.fingerprint, ins, outs))
    assert text in str(caught.value)


def test_the_made_up_request_of_the_warm_up_has_a_sorts_list() -> None:
    with fed() as (live, engine):
        live.post(example_request(live.registry.models[0].manifest))
        assert -1 not in engine.batches[-1]["sort_slots"].tolist()[0]
