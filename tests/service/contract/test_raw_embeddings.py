"""Embeddings are read where they are needed: a fault is a 422 wherever it is met, and unnoticed where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from models.contract.scalars import FeatureError
from service.bundles.model import Model
from service.contract.candidates import RequestColumns, RequestObjects, candidate_table
from service.contract.decoding import decode_request
from service.contract.problems import Problem
from service.inference.engine import EngineError
from service.ranking.dealt import deal_request, encode_request
from service.ranking.lists import bypass_list, degraded_list
from service.timing.deadline import Deadline
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import FakeEngine, fake_model, live_app
from tests.service.requests import as_columns, decoded, request
from tests.service.tiny_bundle import Options

Form = Callable[[dict[str, Any]], dict[str, Any]]
FORMS: list[tuple[Form, str]] = [
    (lambda sent: sent, "candidates[{}].embedding"),
    (as_columns, "candidates.embedding[{}]"),
]
"""Ways to send candidates, and to name an embedding in errors."""


def embedded(*embeddings: Any, **changes: Any) -> dict[str, Any]:
    """A request whose candidates have these embeddings, best first by every score."""
    sent = request(len(embeddings), **changes)
    for i, (made, embedding) in enumerate(zip(sent["candidates"], embeddings, strict=True)):
        made |= {"embedding": embedding, "scores": {"ctr": 0.5 / (i + 1), "cvr": 0.5 / (i + 1)}, "price": 10.0}
    return sent


def problem_of(make: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(Problem) as caught:
        make()
    assert caught.value.kind.status == 422
    error = caught.value.errors[0]
    return error.field, error.problem


@pytest.mark.parametrize(("form", "path"), FORMS)
@pytest.mark.parametrize(
    ("wrong", "inner", "said"),
    [
        ([1.0, None], "[1]", "Expected float, got null"),
        (["x", 1.0], "[0]", "Expected float, got str"),
        ([], "", "Expected array of length >= 1"),
        ([1.0] * 4097, "", "Expected array of length <= 4096"),
        ("AAAA", "", "Expected array | null, got str"),
        ({}, "", "Expected array | null, got object"),
        ([1.0], "", "has 1 numbers, but that of candidates[1] has 2"),
    ],
)
def test_a_fault_is_named_and_the_first_of_several(form: Form, path: str, wrong: Any, inner: str, said: str) -> None:
    table = candidate_table(decoded(form(embedded(None, [1.0, 2.0], [2, 1], wrong, wrong))))
    with pytest.raises(FeatureError) as caught:
        table.embeddings(np.array([4, 2, 0, 3, 1]))
    assert (caught.value.path, caught.value.problem) == (path.format(3) + inner, said)


@pytest.mark.parametrize(("form", "path"), FORMS)
def test_only_what_is_asked_for_is_read(form: Form, path: str) -> None:
    table = candidate_table(decoded(form(embedded([3.0, 4.0], "x", None, [1.0], [0.0, 2.0]))))
    expected = np.array([[0.0, 1.0], [0.0, 0.0], [0.6, 0.8]], np.float32)
    np.testing.assert_array_equal(table.embeddings(np.array([4, 2, 0])), expected)
    assert [table.has_embeddings(np.array([i])) for i in range(5)] == [True, True, False, True, True]
    with pytest.raises(FeatureError, match="has 1 numbers, but that of candidates") as caught:
        table.embeddings(np.array([3]))
    assert caught.value.path == path.format(3), "widths of earlier calls count"


def test_tables_keep_the_body_that_embeddings_are_in() -> None:
    for kind, form in ((RequestObjects, FORMS[0][0]), (RequestColumns, FORMS[1][0])):
        table = candidate_table(decode_request(json.dumps(form(embedded([0.5, 0.0]))).encode()))
        assert isinstance(table, kind)
        junk = [bytes(1000) for _ in range(1000)]
        assert table.embeddings(np.array([0])).tolist() == [[1.0, 0.0]]
        del junk


def model(**options: Any) -> Model:
    """A model for lists of two."""
    made = fake_model(options=Options(**options))
    limits = replace(made.manifest.limits, list_length=2)
    return replace(made, manifest=replace(made.manifest, limits=limits))


FAULTY = embedded(*[[1.0, 0.0]] * 5, "wrong", *[[1.0, 0.0]] * 30, queues=[{"name": "worst", "score": "-ctr"}])
"""Its queue holds the last candidates, and the formula looks at the first six, of which the sixth has a fault."""


@pytest.mark.parametrize(("form", "path"), FORMS)
def test_a_fault_in_a_candidate_that_no_queue_holds_goes_unnoticed(form: Form, path: str) -> None:
    sent = form(FAULTY)
    dealt = deal_request(decoded(sent), model())
    assert 5 not in dealt.slots.candidates
    assert encode_request(dealt)["embeddings"].shape[1] == 2
    places = np.array([0, 5])
    row = replace(dealt, slots=replace(dealt.slots, candidates=places), places=places)
    assert problem_of(lambda: encode_request(row)) == (path.format(5), "Expected array | null, got str")


@pytest.mark.parametrize(("form", "path"), FORMS)
def test_a_fault_that_only_the_formula_meets_is_a_422(form: Form, path: str) -> None:
    dealt = deal_request(decoded(form(FAULTY)), model())
    expected = (path.format(5), "Expected array | null, got str")
    assert problem_of(lambda: degraded_list(dealt, "model-error", Deadline())) == expected
    assert degraded_list(dealt, "deadline", Deadline(perf_counter() - 1)).items, "no embedding is read without time"
    unlearnt = model()
    unlearnt = replace(unlearnt, manifest=replace(unlearnt.manifest, shares={"click": 0.0, "conversion": 0.0}))
    assert problem_of(lambda: bypass_list(deal_request(decoded(form(FAULTY)), unlearnt))) == expected


@pytest.mark.parametrize(("form", "path"), FORMS)
def test_a_fault_that_only_the_formula_under_rules_meets_is_a_422(form: Form, path: str) -> None:
    sent = form({**FAULTY, "rules": {"caps": [{"by": "brand", "limit": 1}]}})
    dealt = deal_request(decoded(sent), model(groups=8))
    fault = problem_of(lambda: degraded_list(dealt, "model-error", Deadline()))
    assert fault == (path.format(5), "Expected array | null, got str")


@pytest.mark.parametrize(("form", "path"), FORMS)
def test_a_fault_that_only_shown_items_meet_is_a_422(form: Form, path: str) -> None:
    shown = {"shown": ["old"], "shown_items": [{"id": "old", "embedding": [0.5, 0.5]}]}
    fault = problem_of(lambda: deal_request(decoded(form({**FAULTY, **shown})), model(groups=8)))
    assert fault == (path.format(5), "Expected array | null, got str")


@pytest.mark.parametrize(("form", "path"), FORMS)
def test_the_degraded_path_of_a_server_refuses_a_fault_and_fails_not(form: Form, path: str) -> None:
    engine = FakeEngine()
    engine.error = EngineError("made up")
    with live_app(replace(model(), engine=engine)) as live:
        assert live.post(form(embedded([1.0, 0.0], [0.0, 1.0]))).json["degraded"]["reason"] == "model-error"
        reply = live.post(form(FAULTY))
        assert_problem(reply, 422, "invalid-request", path.format(5))
        assert live.records[-1].outcome == "invalid"


@pytest.mark.parametrize(("form", "path"), FORMS)
def test_shown_items_have_the_width_of_the_first_candidate_with_an_embedding(form: Form, path: str) -> None:
    shown = {"shown": ["a"], "shown_items": [{"id": "a", "embedding": [1.0]}]}
    with live_app(model(groups=8)) as live:
        reply = live.post(form(embedded(None, [1.0, 0.0], None, **shown)))
        assert_problem(reply, 422, "invalid-request", "shown_items[0].embedding", "but that of candidates[1] has 2")
        reply = live.post(form(embedded(None, "x", [1.0], **shown)))
        assert_problem(reply, 422, "invalid-request", path.format(1), "got str")


def test_an_embedding_nested_too_deeply_is_malformed() -> None:
    body = json.dumps(embedded("@")).replace('"@"', "[" * 100_000 + "]" * 100_000).encode()
    with pytest.raises(Problem, match="nested too deeply") as caught:
        decode_request(body)
    assert caught.value.kind.status == 400
