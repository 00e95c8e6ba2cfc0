"""A peer reads candidates of every form to the same lists, with the service's own catalogue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest.peers import schemas
from loadtest.peers.pipeline import Pipeline
from loadtest.peers.pydantic_schemas import RerankRequest
from loadtest.requests.forms import FORMS, NUMBERS, Form, Numbers
from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads
from loadtest.rig.catalogue import catalogue_of
from models.contract.manifest import DEMO_BUNDLE

ITEMS, WIDTH = 60, 4
DECODERS: dict[str, Callable[[bytes], Any]] = {
    "msgspec": msgspec.json.Decoder(schemas.PeerRequest).decode,
    "pydantic": RerankRequest.model_validate_json,
}


@pytest.fixture(scope="module")
def catalogue() -> Path:
    return catalogue_of(DEMO_BUNDLE, ITEMS, seed=3, embedding_width=WIDTH)


def bodies(form: Form, numbers: Numbers = "arrays") -> list[bytes]:
    source = from_bundle(DEMO_BUNDLE, seed=3, embedding_width=WIDTH, items=ITEMS)
    options = PayloadOptions(count=6, sizes={40: 1.0}, seed=3, form=form, numbers=numbers)
    return [payload.body for payload in make_payloads(source, options)]


def lists(pipeline: Pipeline, sent: list[bytes], decode: Callable[[bytes], Any]) -> list[Any]:
    return [pipeline.rerank(decode(body))["items"] for body in sent]


@pytest.mark.long
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("form", FORMS)
def test_all_forms_get_the_lists_of_objects(catalogue: Path, form: Form, numbers: Numbers, decoder: str) -> None:
    wanted = lists(Pipeline(DEMO_BUNDLE), bodies("objects"), DECODERS["msgspec"])
    pipeline = Pipeline(DEMO_BUNDLE, catalogue if form == "catalogue" else None)
    assert lists(pipeline, bodies(form, numbers), DECODERS[decoder]) == wanted


def test_without_its_catalogue_a_peer_gives_other_lists(catalogue: Path) -> None:
    sent, decode = bodies("catalogue"), DECODERS["msgspec"]
    assert lists(Pipeline(DEMO_BUNDLE), sent, decode) != lists(Pipeline(DEMO_BUNDLE, catalogue), sent, decode)


def test_missing_values_are_read_as_those_of_objects() -> None:
    pipeline, decode = Pipeline(DEMO_BUNDLE), DECODERS["msgspec"]
    objects = [
        {"id": f"i{i}", "scores": {"ctr": 0.1 + i / 50, "cvr": 0.2}, **({"price": 5.0 * i} if i % 2 else {})}
        for i in range(12)
    ]
    for i in range(0, 12, 3):
        objects[i]["embedding"] = [1.0, float(i)]
    columns = {
        "id": [c["id"] for c in objects],
        "scores": {name: [c["scores"][name] for c in objects] for name in ("ctr", "cvr")},  # type: ignore[index]
        "price": [c.get("price") for c in objects],
        "embedding": [c.get("embedding") for c in objects],
    }
    sent = [msgspec.json.encode({"candidates": candidates}) for candidates in (objects, columns)]
    first, second = lists(pipeline, sent, decode)
    assert first == second


def test_a_folder_without_a_catalogue_for_the_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no catalogue for the bundle's feature spec"):
        Pipeline(DEMO_BUNDLE, tmp_path)
