"""A pointer's bundle with a graph for rules: any number of candidates, with rules and without, in one batch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundles.load import load_bundle
from service.bundles.model import Model
from service.contract.decoding import decode_request
from service.inference.engine import RequestArrays, stack_rows
from service.inference.onnx.session import SessionConfig
from service.ranking.dealt import deal_request, encode_request, graph_inputs
from tests.service.degre_bundle import write_degre_bundle
from tests.service.live import live_app
from tests.service.requests import check_list, request

RULES: dict[str, Any] = {
    "pinned": [{"id": "sku-2", "position": 3}],
    "caps": [{"by": "category", "limit": 1, "window": 2}, {"by": "brand", "limit": 1}],
    "boosts": [{"where": {"category": "hats"}, "factor": 3.0}],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_bundle(write_degre_bundle(tmp_path_factory.mktemp("ruled"), rules=True), SessionConfig())


def row(model: Model, n: int, rules: dict[str, Any] | None) -> RequestArrays:
    """The graph's inputs for a request with `n` candidates."""
    body = request(n) if rules is None else request(n, rules=rules)
    return graph_inputs(model, encode_request(deal_request(decode_request(json.dumps(body).encode()), model)))


@pytest.mark.long
@settings(max_examples=25)
@given(sizes=st.lists(st.tuples(st.integers(3, 60), st.booleans()), min_size=2, max_size=5))
def test_every_request_of_a_mixed_batch_gets_the_list_that_it_gets_alone(
    model: Model, sizes: list[tuple[int, bool]]
) -> None:
    rows = [row(model, n, RULES if ruled else None) for n, ruled in sizes]
    together = model.engine.run(stack_rows(rows))
    for i, own in enumerate(rows):
        alone = model.engine.run(stack_rows([own]))
        np.testing.assert_array_equal(together["order"][i], alone["order"][0])
        np.testing.assert_allclose(together["score"][i], alone["score"][0], atol=1e-5)


@pytest.mark.parametrize("n", [5, 12, 60])
def test_a_server_keeps_the_rules_for_any_number_of_candidates(model: Model, n: int) -> None:
    with live_app(model) as server:
        sent = request(n, rules=RULES)
        answer = server.post(sent).json
    check_list(sent, answer)
    assert answer["items"][2]["id"] == "sku-2"
    assert [item.get("pinned") for item in answer["items"]] == [None, None, True, None, None]
    if "relaxed" not in answer:
        brands = [sent["candidates"][item["index"]]["features"]["brand"] for item in answer["items"]]
        assert len(set(brands)) == len(brands)
