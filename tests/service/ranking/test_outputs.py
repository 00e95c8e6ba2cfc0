"""Whatever a model answers, the client gets a valid list: the model's if all of it is possible, else the formula's."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.inference.engine import BatchArrays
from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.ranking.test_shadow import next_model, shadowed, wait_for
from tests.service.requests import check_list, request
from tests.service.tiny_bundle import Arrays, Options

NAN, INF = float("nan"), float("inf")
KNOWS = Options(knows_sort=True)
SLOTS = 15


class Garbage(FakeEngine):
    """Answers as its class does, but for `changed`; None leaves an output out."""

    changed: Mapping[str, Any] = {}

    def run(self, batch: BatchArrays) -> Arrays:
        answer = super().run(batch) | dict(self.changed)
        return {name: array for name, array in answer.items() if array is not None}


@pytest.fixture(scope="module")
def engine() -> Garbage:
    return Garbage(KNOWS, kept_sort=False)


@pytest.fixture(scope="module")
def server(engine: Garbage) -> Iterator[Live]:
    with live_app(fake_model(engine, KNOWS)) as live:
        yield live


def ask(server: Live, n: int = 8, *, explain: bool = False, **more: Any) -> Any:
    """A list that must be valid, and whole in JSON's own terms: no null where a number belongs."""
    sent = request(n, explain=explain, **more)
    reply = server.post(sent)
    assert reply.status == 200, reply.body
    check_list(sent, reply.json)
    explained = [item["explanation"] for item in reply.json["items"] if item.get("explanation")]
    for one in explained:
        assert {type(one["penalty"]), type(one["score"]), *map(type, one["parts"].values())} <= {int, float}
    return reply.json


WRONG: dict[str, dict[str, Any]] = {
    "score is NaN": {"score": np.array([[0, 0, NAN, 0, 0]], np.float32)},
    "penalty is NaN": {"penalty": np.array([[NAN, 0, 0, 0, 0]], np.float32)},
    "score is infinite": {"score": np.array([[0, INF, 0, 0, 0]], np.float32)},
    "infinities that cancel": {"score": np.array([[0, INF, -INF, 0, 0]], np.float32)},
    "one part of value is NaN": {"value": np.array([[[0, NAN, 0]] + [[0, 0, 0]] * 4], np.float32)},
    "runner-up past the slots": {"runner_up": np.array([[SLOTS, -1, -1, -1, -1]])},
    "runner-up far out": {"runner_up": np.array([[-1, 2**62, -1, -1, -1]])},
    "runner-up below -1": {"runner_up": np.array([[-1, -2, -1, -1, -1]])},
    "runner-up is an empty slot": {"runner_up": np.array([[4, -1, -1, -1, -1]])},
    "no runner-up": {"runner_up": None},
    "no order": {"order": None},
    "no value": {"value": None},
    "no kept_sort": {"kept_sort": None},
    "kept_sort is several": {"kept_sort": np.zeros((1, 2), bool)},
    "kept_sort is a number": {"kept_sort": np.array([2.5])},
    "order is short": {"order": np.array([[0, 1, 2]])},
    "order is a number": {"order": np.array([3])},
    "order is in floats": {"order": np.array([[0.0, 1.0, 2.0, -1.0, -1.0]])},
    "score is text": {"score": np.array([["a"] * 5])},
    "value is flat": {"value": np.zeros((1, 5), np.float32)},
    "value is complex": {"value": np.zeros((1, 5, 3), np.complex64)},
    "value overflows": {"value": np.full((1, 5, 3), 1e308)},
    "rows of another batch": {"score": np.zeros((2, 5), np.float32)},
    "score is no array": {"score": [[0.0] * 5]},
    "score is an object": {"score": np.array([[None] * 5])},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
@pytest.mark.parametrize("explain", [False, True])
def test_an_impossible_answer_is_a_list_by_the_formula(
    server: Live, engine: Garbage, wrong: dict[str, Any], explain: bool
) -> None:
    engine.changed = {}
    queues = [{"name": "click", "score": "ctr"}]  # One queue and four candidates: slot 4 is empty.
    sound = ask(server, n=4, explain=explain, queues=queues)
    assert sound["degraded"] is None
    engine.changed = wrong
    answer = ask(server, n=4, explain=explain, queues=queues)
    assert answer["degraded"] == {"reason": "model-error", "level": "formula"}
    assert {item["source"] for item in answer["items"]} == {"formula"}


def test_what_lies_behind_the_list_is_not_looked_at(server: Live, engine: Garbage) -> None:
    rubbish = np.array([[0, 0, 0, NAN, INF]], np.float32)
    engine.changed = {"score": rubbish, "penalty": rubbish, "runner_up": np.array([[1, 2, -1, 99, -7]])}
    answer = ask(server, explain=True, top_n=3)
    assert answer["degraded"] is None
    assert answer["items"][0]["explanation"]["runner_up"] is not None


numbers = st.sampled_from([NAN, INF, -INF, 3e38, -3e38, 0.0, 1e308]) | st.floats(width=32)
integers = st.sampled_from([-1, -2, SLOTS, 2**62, -(2**63)]) | st.integers(-2, SLOTS + 1)
types = st.sampled_from([np.float32, np.float16, np.float64, np.int64, np.int32, np.bool_, np.complex64, object])
shapes = st.sampled_from([(1, 5), (1, 5, 3), (1,), (), (2, 5), (1, 0), (1, 4), (0, 5), (1, 5, 2)])


@st.composite
def arrays(draw: st.DrawFn, elements: st.SearchStrategy[Any], shape: tuple[int, ...], kind: Any) -> Any:
    """Usually of the right shape and type, with wild elements; sometimes anything at all, or missing."""
    how = draw(st.integers(0, 9))
    if how == 0:
        return None
    if how == 1:
        return np.zeros(draw(shapes), draw(types))
    found = np.zeros(shape, kind)
    with np.errstate(over="ignore"):
        for place in range(found.size):
            found.flat[place] = draw(elements)
    return found


answers = st.fixed_dictionaries(
    {},
    optional={
        "order": arrays(integers, (1, 5), np.int64) | st.permutations(range(5)).map(lambda p: np.array([p])),
        "value": arrays(numbers, (1, 5, 3), np.float32),
        "penalty": arrays(numbers, (1, 5), np.float32),
        "score": arrays(numbers, (1, 5), np.float32),
        "runner_up": arrays(integers, (1, 5), np.int64),
        "kept_sort": arrays(st.booleans(), (1,), np.bool_),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=answers, explain=st.booleans(), n=st.integers(1, 12), top_n=st.integers(1, 12))
def test_any_garbage_at_all_gives_a_valid_list(
    server: Live, engine: Garbage, answer: dict[str, Any], explain: bool, n: int, top_n: int
) -> None:
    engine.changed = answer
    found = ask(server, n=n, explain=explain, top_n=top_n)
    assert found["degraded"] in (None, {"reason": "model-error", "level": "formula"})
    json.dumps(found, allow_nan=False)


def test_a_failing_model_is_logged_once_with_a_request_id_and_what_was_wrong(caplog: pytest.LogCaptureFixture) -> None:
    first, other = Garbage(), Garbage()
    first.changed = {"score": np.full((1, 5), NAN, np.float32)}
    other.error = RuntimeError("no such kernel")
    with caplog.at_level(logging.ERROR), live_app(fake_model(first), fake_model(other, Options(name="other"))) as live:
        for n in range(5):
            live.post(request(model="tiny", request_id=f"a-{n}"))
            live.post(request(model="other", request_id=f"b-{n}"))
    tiny, failed = caplog.records
    assert tiny.getMessage().startswith(
        "model tiny 1 failed on request a-0: the model answered a score that is not finite"
    )
    assert failed.getMessage() == "model other 1 failed on request b-0: inference failed: no such kernel"
    assert [record.__dict__["request_id"] for record in caplog.records] == ["a-0", "b-0"]
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("wrong", ["score is NaN", "runner-up far out", "no value", "score is no array"])
def test_a_shadow_that_answers_garbage_has_failed(wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = Garbage()
    engine.changed = WRONG[wrong]
    with caplog.at_level(logging.ERROR), shadowed(fake_model(), next_model(engine)) as live:
        for n in (1, 2):
            assert live.post(request()).json["degraded"] is None
            wait_for(live, failed=n)
    assert len(caplog.records) == 1
