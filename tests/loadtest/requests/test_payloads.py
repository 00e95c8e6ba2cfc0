"""Payloads are seeded, plausible for the spec, of the sizes asked for, and know what a valid answer holds."""

from __future__ import annotations

import hashlib
import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.requests.fake import FakeRequests
from loadtest.requests.payloads import (
    MIX,
    PAYLOAD_OPTIONS,
    PayloadOptions,
    add_payload_options,
    from_bundle,
    from_lists,
    make_payloads,
    parse_mix,
    payloads_from,
)
from models.contract.features import Encoder
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListFileError, ListRecord
from tests.loadtest.specs import SPEC, write_bundle_json


def _candidates(request: dict[str, Any]) -> list[Candidate]:
    return [Candidate(**c) for c in request["candidates"]]


def test_equal_seeds_give_equal_bodies_and_others_do_not() -> None:
    def bodies(seed: int) -> list[bytes]:
        source = FakeRequests(SPEC, seed=seed, embedding_width=4).request
        return [p.body for p in make_payloads(source, PayloadOptions(count=3, sizes={7: 1.0}, seed=seed))]

    assert bodies(1) == bodies(1)
    assert bodies(1) != bodies(2)


def test_objects_are_byte_for_byte_those_that_figures_of_earlier_versions_were_measured_with() -> None:
    source = FakeRequests(SPEC, seed=1, embedding_width=4).request
    bodies = b"".join(p.body for p in make_payloads(source, PayloadOptions(count=3, sizes={7: 1.0}, seed=1)))
    assert hashlib.sha256(bodies).hexdigest() == "2f30f2ffbe1e1feec91db7205023bc40e53f5f1e6c7bbec46c74111617b8aeae"


def test_made_up_requests_fill_every_field_with_values_the_encoder_knows() -> None:
    request = FakeRequests(SPEC, seed=0).request(400)
    encoder = Encoder(SPEC)
    user = encoder.encode_user(request["user"], request["context"])
    items = encoder.encode_items(_candidates(request))
    assert user["user_ids"].astype(int).min() > 0
    assert items["item_ids"].astype(int).min() > 0, "row 0 is the unknown bucket"
    for name in ("item_numbers", "item_scores"):
        assert np.abs(items[name].astype(float)).max() <= 2.01, "numbers stay within two deviations"
        assert items[name].astype(float).std(axis=0).min() > 0.5, "numbers vary as the spec says"


def test_made_up_scores_are_probabilities_and_prices_are_positive() -> None:
    request = FakeRequests(SPEC, seed=3).request(300)
    assert all(0 < s < 1 for c in request["candidates"] for s in c["scores"].values())
    assert all(c["price"] > 0 for c in request["candidates"])


def test_embeddings_are_unit_rows_of_the_width_asked_for() -> None:
    request = FakeRequests(SPEC, seed=0, embedding_width=16).request(5)
    rows = np.array([c["embedding"] for c in request["candidates"]])
    assert rows.shape == (5, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    assert "embedding" not in FakeRequests(SPEC, seed=0).request(1)["candidates"][0]


@given(n=st.integers(1, 40), top_n=st.integers(1, 40), count=st.integers(1, 5))
def test_a_payload_expects_what_its_own_body_asks_for(n: int, top_n: int, count: int) -> None:
    options = PayloadOptions(count=count, sizes={n: 1.0}, top_n=top_n, extra={"explain": True})
    payloads = make_payloads(FakeRequests(SPEC, seed=n).request, options)
    assert len(payloads) == count
    for payload in payloads:
        body = json.loads(payload.body)
        assert [c["id"] for c in body["candidates"]] == list(payload.ids)
        assert len(set(payload.ids)) == n
        assert payload.expected == min(n, top_n)
        assert (body["top_n"], body["explain"]) == (top_n, True)
    assert len({p.body for p in payloads}) == count


def test_a_mix_comes_at_its_shares() -> None:
    payloads = make_payloads(FakeRequests(SPEC, seed=0).request, PayloadOptions(count=40, sizes=MIX))
    sizes = [len(p.ids) for p in payloads]
    assert {n: sizes.count(n) for n in MIX} == {20: 6, 50: 10, 100: 16, 300: 6, 1000: 2}
    assert sizes != sorted(sizes), "sizes are mixed, not in a row"


@pytest.mark.parametrize(
    ("text", "sizes"), [("default", dict(MIX)), ("20", {20: 1.0}), ("20=1,100=3.5", {20: 1.0, 100: 3.5})]
)
def test_a_mix_is_read_from_text(text: str, sizes: dict[int, float]) -> None:
    assert parse_mix(text) == sizes


@pytest.mark.parametrize("text", ["", "a=1", "20=x", "20=1,,"])
def test_a_malformed_mix_is_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="is not SIZE=WEIGHT"):
        parse_mix(text)


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"top_n": 0}, {"sizes": {0: 1.0}}, {"sizes": {5: 0.0}}, {"sizes": {}}]
)
def test_options_that_ask_for_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        PayloadOptions(**options)


def _list_file(path: Path) -> Path:
    records = [
        ListRecord(
            request_id=f"r{r}",
            user={"age": "25-34"},
            candidates=tuple(
                Candidate(f"hotel-{r}-{i}", {"ctr": 0.1}, 80.0, {"category": "hats"}, (1.0, 0.0)) for i in range(4)
            ),
            exposed=(0,),
            clicks=(1,),
        )
        for r in range(3)
    ]
    write_lists(path, records, {"source": "test"})
    return path


def test_a_list_file_gives_its_own_candidates_filled_up_from_other_lists(tmp_path: Path) -> None:
    source = from_lists(_list_file(tmp_path / "lists.parquet"), seed=0)
    request = source(6)
    ids = [c["id"] for c in request["candidates"]]
    owner = ids[0].rsplit("-", 1)[0]
    assert ids[:4] == [f"{owner}-{i}" for i in range(4)]
    assert len(set(ids)) == 6
    assert request["user"] == {"age": "25-34"}
    assert request["candidates"][0] == {
        "id": ids[0], "scores": {"ctr": 0.1}, "price": 80.0, "features": {"category": "hats"},
    }  # fmt: skip
    assert len(source(2)["candidates"]) == 2
    with_embeddings = from_lists(tmp_path / "lists.parquet", seed=0, embeddings=True)
    assert with_embeddings(1)["candidates"][0]["embedding"] == [1.0, 0.0]


def test_a_list_file_with_too_few_items_or_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 12 different items, fewer than the 13"):
        from_lists(_list_file(tmp_path / "lists.parquet"), seed=0)(13)
    with pytest.raises(ListFileError, match="missing"):
        from_lists(tmp_path / "missing.parquet", seed=0)


def test_command_line_options_reach_the_payloads(tmp_path: Path) -> None:
    parser = ArgumentParser()
    add_payload_options(parser)
    bundle = write_bundle_json(tmp_path)
    arguments = [f"--bundle={bundle}", "--mix=3,5=1", "--payloads=4", "--top-n=4", '--extra={"partition": "dfs"}']
    payloads = payloads_from(parser.parse_args(arguments))
    assert sorted(len(p.ids) for p in payloads) == [3, 3, 5, 5]
    assert json.loads(payloads[0].body)["partition"] == "dfs"
    assert set(PAYLOAD_OPTIONS) <= {a.dest.replace("_", "-") for a in parser._actions}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [([], "--bundle or --lists"), (["--extra=[]"], "--extra: must be"), (["--extra={"], "--extra: is not valid JSON")],
)
def test_bad_options_are_named(arguments: list[str], problem: str) -> None:
    parser = ArgumentParser()
    add_payload_options(parser)
    with pytest.raises(ValueError, match=problem):
        payloads_from(parser.parse_args(arguments))


def test_a_bundle_folder_gives_requests_for_its_spec(tmp_path: Path) -> None:
    request = from_bundle(write_bundle_json(tmp_path), seed=0)(2)
    assert request["model"] == "demo"
    assert set(request["user"]) == {"age", "user_id"}
    assert set(request["candidates"][0]["features"]) == {"category", "stars"}
