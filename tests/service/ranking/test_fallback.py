"""The list without the model, held to a plain reference in pure Python that shares no code with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.contract.slots import ScoreTable
from service.contract.candidates import candidate_table
from service.contract.schemas import RerankRequest
from service.ranking.fallback import Places, formula_list, input_list, maximal_marginal_relevance
from service.ranking.plan import RequestPlan, make_plan
from service.ranking.request_items import RequestItems
from tests.service.live import FakeEngine, fake_model, live_app
from tests.service.requests import candidate, decoded, objects, request
from tests.service.tiny_bundle import Options, make_manifest

NEAR_TIE = 1e-6
Vector = list[float] | None


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def known(vector: Vector) -> bool:
    return vector is not None and any(vector)


def values(
    scores: Sequence[float], vectors: Sequence[Vector], trade_off: float, window: int, chosen: Sequence[int]
) -> dict[int, float]:
    """λ·score − (1 − λ)·penalty of every item that is left, after `chosen`: SORT-Gen, eq. 6, word for word."""
    left = [i for i in range(len(scores)) if i not in chosen]
    recent = [vectors[i] for i in chosen[max(0, len(chosen) - window) :] if known(vectors[i])]
    penalties: dict[int, float] = {}
    if recent:
        for i in left:
            if known(vectors[i]):
                penalties[i] = max(cosine(vectors[i] or [], other or []) for other in recent)
    mean = sum(penalties.values()) / len(penalties) if penalties else 0.0
    return {i: trade_off * scores[i] - (1 - trade_off) * penalties.get(i, mean) for i in left}


def check_choice(
    found: Sequence[int], scores: Sequence[float], vectors: Sequence[Vector], trade_off: float, window: int
) -> int:
    """Every choice must be the best of what is left, the first of equals; returns how many were near ties."""
    near_ties = 0
    for step, choice in enumerate(found):
        worth = values(scores, vectors, trade_off, window, list(found[:step]))
        best = max(worth.values())
        first = min(i for i, value in worth.items() if value == best)
        if choice != first:
            assert best - worth[choice] < NEAR_TIE * (1 + abs(best)), (step, choice, first)
            near_ties += 1
    return near_ties


def unit_rows(vectors: Sequence[Vector]) -> Any:
    width = max((len(v) for v in vectors if v), default=1)
    rows = [[x / math.hypot(*v) for x in v] if v and any(v) else [0.0] * width for v in vectors]
    return np.array(rows, np.float32).reshape(len(vectors), width)


coordinate = st.integers(-4, 4).map(float)


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[float], list[Vector]]:
    n, width = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    vector = st.none() | st.lists(coordinate, min_size=width, max_size=width)
    score = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]) | st.floats(-3, 3, allow_subnormal=False)
    return (
        draw(st.lists(score, min_size=n, max_size=n)),
        draw(st.lists(vector, min_size=n, max_size=n)),
    )


@pytest.mark.long
@given(
    pool=pools(),
    trade_off=st.sampled_from([0.0, 0.5, 0.8, 1.0]) | st.floats(0, 1, allow_subnormal=False),
    window=st.integers(0, 6),
    steps=st.integers(0, 18),
)
def test_every_choice_is_the_best_that_is_left(
    pool: tuple[list[float], list[Vector]], trade_off: float, window: int, steps: int
) -> None:
    scores, vectors = pool
    found = maximal_marginal_relevance(np.array(scores), unit_rows(vectors), trade_off, window, steps)
    assert len(found) == min(steps, len(scores))
    assert len(set(found)) == len(found)
    check_choice(found, scores, vectors, trade_off, window)


def test_near_ties_are_rare_among_random_items_so_the_comparison_says_something() -> None:
    rng = np.random.default_rng(3)
    near_ties = 0
    for _ in range(60):
        n = int(rng.integers(5, 30))
        vectors: list[Vector] = [v if rng.random() < 0.8 else None for v in rng.normal(size=(n, 6)).tolist()]
        scores = rng.random(n).tolist()
        found = maximal_marginal_relevance(np.array(scores), unit_rows(vectors), 0.6, 3, 10)
        near_ties += check_choice(found, scores, vectors, 0.6, 3)
    assert near_ties <= 1


def test_a_window_of_none_looks_back_on_nothing() -> None:
    rows = unit_rows([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert maximal_marginal_relevance(np.array([0.3, 0.2, 0.1]), rows, 0.1, 0, 3) == [0, 1, 2]
    assert maximal_marginal_relevance(np.array([0.3, 0.2, 0.1]), rows, 0.1, 1, 3) == [0, 2, 1]


def test_an_item_without_an_embedding_is_charged_the_mean_of_the_others_and_so_does_not_always_win() -> None:
    rows = unit_rows([[1.0, 0.0], [0.6, 0.8], None, [0.0, 1.0]])
    # After item 0 the others are charged 0.6 and 0; the one without an embedding 0.3.
    scores = np.array([1.0, 0.0, 0.29, 0.0])
    assert maximal_marginal_relevance(scores, rows, 0.5, 4, 2) == [0, 3]
    scores = np.array([1.0, 0.0, 0.31, 0.0])
    assert maximal_marginal_relevance(scores, rows, 0.5, 4, 2) == [0, 2]


def make(sent: dict[str, Any], **options: Any) -> tuple[RerankRequest, RequestPlan, list[tuple[int, str]]]:
    """The request, its plan and its list by the formula, which there must be."""
    made, plan, places = try_to_make(sent, **options)
    assert places is not None
    return made, plan, list(places)


def try_to_make(sent: dict[str, Any], **options: Any) -> tuple[RerankRequest, RequestPlan, Places | None]:
    manifest = make_manifest(Options(**options))
    made = decoded(sent)
    candidates = candidate_table(made)
    plan = make_plan(made, RequestItems.alone(candidates), manifest)
    table = ScoreTable(candidates, plan.weights, manifest.spec)
    return made, plan, formula_list(candidates, table, plan, manifest)


def reference_list(made: RerankRequest, plan: RequestPlan, list_length: int, scores: Sequence[float]) -> list[int]:
    """MMR over the best 3·L by score up to the model's length L, then what is left by score. Without near ties only."""
    ranked = sorted(range(len(scores)), key=lambda i: -scores[i])
    steps = min(plan.top_n, list_length)
    pool = ranked[: 3 * steps]
    weighted = [scores[i] / sum(plan.weights) for i in pool]
    raw = [objects(made)[i].embedding for i in pool]
    vectors: list[Vector] = [msgspec.json.decode(json) if isinstance(json, msgspec.Raw) else None for json in raw]
    chosen: list[int] = []
    for _ in range(min(steps, len(pool))):
        worth = values(weighted, vectors, plan.trade_off, plan.window, chosen)
        best = sorted(worth.values(), reverse=True)
        assume(len(best) < 2 or best[0] == best[1] or best[0] - best[1] > NEAR_TIE)
        chosen.append(min(i for i, value in worth.items() if value == best[0]))
    first = [pool[k] for k in chosen]
    return [*first, *(i for i in ranked if i not in first)][: plan.top_n]


@given(
    n=st.integers(1, 60),
    top_n=st.integers(1, 70),
    trade_off=st.sampled_from([0.0, 0.35, 0.8, 1.0]),
    window=st.integers(0, 5),
    gamma=st.sampled_from([0.0, 1.0, 2.5]),
    bare=st.sets(st.integers(0, 59), max_size=30),
)
def test_the_list_is_that_of_the_reference(
    n: int, top_n: int, trade_off: float, window: int, gamma: float, bare: set[int]
) -> None:
    sent = request(
        n,
        top_n=top_n,
        objectives={"click": 5, "conversion": 1, "gmv": gamma},
        diversity={"lambda": trade_off, "window": window},
    )
    for i in bare & set(range(n)):
        sent["candidates"][i].pop("embedding")
        if i % 2:
            sent["candidates"][i].pop("price")
    made, plan, places = make(sent)
    scores = []
    for one in sent["candidates"]:
        ctr, cvr = one["scores"]["ctr"], one["scores"]["cvr"]
        scores.append(5 * ctr + 1 * ctr * cvr + gamma * ctr * cvr * one.get("price", 20.0))
    assert {source for _, source in places} == {"formula"}
    assert [i for i, _ in places] == reference_list(made, plan, 5, scores)


@pytest.mark.parametrize("top_n", [1, 5, 6, 40, 500])
def test_past_what_the_model_would_choose_the_list_goes_on_by_the_formula(top_n: int) -> None:
    sent = request(40, top_n=top_n, diversity={"lambda": 0.2, "window": 3})
    _, _, places = make(sent, fallback="ctr")
    found = [i for i, _ in places]
    assert len(found) == min(top_n, 40)
    assert sorted(set(found)) == sorted(found)
    rest = found[5:]
    assert rest == sorted(rest, key=lambda i: -sent["candidates"][i]["scores"]["ctr"])


def test_twins_keep_the_order_of_the_request() -> None:
    sent = request(1, top_n=9, diversity={"lambda": 0.5})
    sent["candidates"] = [candidate(0, id=str(i)) for i in range(9)]
    assert [i for i, _ in make(sent)[2]] == list(range(9))


def test_with_diversity_only_the_second_item_is_the_one_least_like_the_first() -> None:
    sent = request(4, top_n=2, diversity={"lambda": 0, "window": 1})
    for one, vector in zip(sent["candidates"], [[1, 0], [1, 0.1], [-1, 0], [0, 1]], strict=True):
        one["embedding"] = vector
    first, second = (i for i, _ in make(sent, fallback="ctr")[2])
    # At λ = 0 nothing tells the first ones apart but the formula's order.
    assert first == max(range(4), key=lambda i: sent["candidates"][i]["scores"]["ctr"])
    vectors = [one["embedding"] for one in sent["candidates"]]
    assert second == min((i for i in range(4) if i != first), key=lambda i: cosine(vectors[i], vectors[first]))


def test_without_prices_and_a_default_for_them_there_is_no_list_by_the_formula() -> None:
    sent = request(7, top_n=6, queues=[{"name": "q", "score": "ctr"}])
    for one in sent["candidates"]:
        one.pop("price")
    spec = replace(make_manifest(Options()).spec, price=None)
    _, plan, places = try_to_make(sent, spec=spec, fallback="ctr*price")
    assert places is None
    assert input_list(plan.top_n) == [(i, "input") for i in range(6)]


def test_a_model_that_fails_where_the_formula_cannot_be_computed_leaves_the_order_of_the_request() -> None:
    engine = FakeEngine()
    engine.error = RuntimeError("broken")
    with live_app(fake_model(engine, Options(fallback="margin"))) as live:
        answer = live.post(request(7, top_n=6)).json
        assert answer["degraded"] == {"reason": "model-error", "level": "input"}
        assert [item["index"] for item in answer["items"]] == list(range(6))


def test_candidates_for_which_the_formula_is_not_finite_come_last_in_the_order_of_the_request() -> None:
    sent = request(6, top_n=6, diversity={"lambda": 0.4, "window": 2})
    for i in (0, 3):
        sent["candidates"][i]["scores"]["ctr"] = 0.0
    for i in (1,):
        sent["candidates"][i]["scores"]["cvr"] = 0.0
    _, _, places = make(sent, fallback="cvr/ctr")
    assert [source for _, source in places] == ["formula"] * 4 + ["input"] * 2
    assert [i for i, _ in places[4:]] == [0, 3]


def test_where_the_formula_is_finite_for_nobody_the_list_is_that_of_the_request() -> None:
    _, _, places = make(request(5, diversity={"lambda": 0.4}), fallback="1/(ctr-ctr)")
    assert places == [(i, "input") for i in range(5)]


def test_huge_scores_do_not_break_the_arithmetic() -> None:
    sent = request(6, top_n=6, diversity={"lambda": 0.5})
    for i, one in enumerate(sent["candidates"]):
        one["price"] = 1e12 if i % 2 else 0.0
    _, _, places = make(sent, fallback="price*price*price*price*ctr")
    assert sorted(i for i, _ in places) == list(range(6))
    assert [i % 2 for i, _ in places] == [1, 1, 1, 0, 0, 0]
