"""The two laws, for requests that hypothesis makes: a valid one gets a valid list, a mangled one a 4xx; never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.live import Live
from tests.service.requests import check_list, request

relaxed = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

probability = st.floats(0, 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(codec="utf-8"), max_size=8)
scalar = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | text
number = st.none() | st.booleans() | finite | st.integers(-(2**63), 2**63 - 1)
formulas = st.sampled_from(
    ["ctr", "ctr*cvr", "ctr*cvr*price", "alpha*ctr - beta*cvr + gamma", "0.5*ctr + relevance/1e300", "1", "-price**2"]
)
features = st.fixed_dictionaries({}, optional={"category": scalar, "brand": scalar, "stars": number, "other": scalar})


@st.composite
def candidates(draw: st.DrawFn) -> list[dict[str, Any]]:
    ids = draw(st.lists(text.filter(bool), min_size=1, max_size=40, unique=True))
    width = draw(st.integers(1, 3))
    some_scores = st.fixed_dictionaries({"ctr": probability, "cvr": probability}, optional={"relevance": finite})
    optional = {
        "price": st.floats(0, 1e12),
        "features": features,
        "embedding": st.lists(finite, min_size=width, max_size=width),
    }
    made: list[dict[str, Any]] = [draw(st.fixed_dictionaries({"scores": some_scores}, optional=optional)) for _ in ids]
    # One candidate has every score, so that no formula names a score that nobody has.
    made[0]["scores"].setdefault("relevance", 0.0)
    return [{"id": name, **rest} for name, rest in zip(ids, made, strict=True)]


weights = st.fixed_dictionaries(
    {"click": st.floats(1e-6, 1e6), "conversion": st.floats(0, 1e6), "gmv": st.floats(0, 1e6)}
)
valid_requests = st.fixed_dictionaries(
    {"candidates": candidates()},
    optional={
        "top_n": st.integers(1, 60),
        "objectives": weights,
        "diversity": st.fixed_dictionaries({}, optional={"lambda": probability, "window": st.integers(0, 1000)}),
        "partition": st.sampled_from(["bfs", "dfs"]),
        "queues": st.lists(formulas, min_size=1, max_size=3).map(
            lambda scores: [{"name": f"q{i}", "score": score} for i, score in enumerate(scores)]
        ),
        "explain": st.booleans(),
        "user": st.fixed_dictionaries({}, optional={"age": scalar, "visits": number}),
        "context": st.fixed_dictionaries({}, optional={"hour": number}),
    },
)


def no_number(constant: str) -> None:
    """NaN and Infinity are no JSON, though Python writes and reads them."""
    raise AssertionError(constant)


@pytest.mark.long
@relaxed
@given(sent=valid_requests)
def test_every_valid_request_gets_a_valid_list(any_server: Live, sent: dict[str, Any]) -> None:
    reply = any_server.post(sent)
    assert reply.status == 200, reply.body
    check_list(sent, reply.json)
    json.loads(reply.body, parse_constant=no_number)


@relaxed
@given(data=st.data())
def test_a_body_with_bytes_changed_gets_a_list_or_a_4xx(any_server: Live, data: st.DataObject) -> None:
    body = bytearray(json.dumps(request(4)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    reply = any_server.post(bytes(body))
    assert reply.status in (200, 400, 422), reply.body
    if reply.status != 200:
        assert reply.json["detail"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
paths = st.sampled_from(
    [
        ("candidates",),
        ("candidates", 2),
        ("candidates", 2, "id"),
        ("candidates", 2, "scores"),
        ("candidates", 2, "scores", "ctr"),
        ("candidates", 2, "price"),
        ("candidates", 2, "features"),
        ("candidates", 2, "features", "stars"),
        ("candidates", 2, "embedding"),
        ("user",),
        ("user", "visits"),
        ("context",),
        ("top_n",),
        ("objectives",),
        ("diversity",),
        ("queues",),
        ("partition",),
        ("model",),
        ("request_id",),
        ("timeout_ms",),
        ("explain",),
        ("surprise",),
    ]
)


@relaxed
@given(path=paths, value=json_values)
def test_a_field_replaced_by_any_json_gets_a_list_or_a_4xx(any_server: Live, path: tuple[Any, ...], value: Any) -> None:
    sent: Any = request(4)
    inner = sent
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    reply = any_server.post(sent)
    assert reply.status in (200, 422), reply.body
    if reply.status == 200:
        check_list(sent, reply.json)


@relaxed
@given(formula=st.text("ctrvpialphbeg()+-*/.0123456789 _,'[]=!", max_size=40))
def test_any_formula_gets_a_list_or_a_422(any_server: Live, formula: str) -> None:
    sent = request(4, queues=[{"name": "fuzz", "score": formula}])
    reply = any_server.post(sent)
    assert reply.status in (200, 422), reply.body
    if reply.status == 200:
        check_list(sent, reply.json)
