"""Hold every rung to the rules: random requests, and an independent check of each finished list."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from models.contract.manifest import Limits
from models.contract.rules.ruling import Ruling
from service.bundles.load import load_bundle
from service.bundles.model import Model
from service.contract.schemas import Item
from service.inference.onnx.session import SessionConfig
from service.ranking.dealt import deal_request
from tests.models.contract.rules.cases import CASES, Case
from tests.models.contract.rules.check import broken_rules, problems
from tests.service.ranking.ruled_requests import all_rungs, as_request
from tests.service.tiny_bundle import Options, write_bundle

SHAPES = (Limits(1, 2), Limits(4, 3), Limits(10, 3))
SOME = settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
MANY = settings(SOME, max_examples=3_000)


@pytest.fixture(scope="module")
def ruled_models(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Model]:
    """Models of several sizes, each with a graph for rules."""
    root: Path = tmp_path_factory.mktemp("ruled")
    folders = [write_bundle(root / str(i), Options(limits=shape, groups=32)) for i, shape in enumerate(SHAPES)]
    return [load_bundle(folder, SessionConfig()) for folder in folders]


def faults(case: Case, items: Sequence[Item], relaxed: Sequence[str]) -> list[str]:
    """What is wrong with a finished list, also if it names a rule that it keeps."""
    shown, shown_items = case.shown, [item for item in case.shown_items if item.id in case.shown]
    picked = [item.index for item in items]
    found = problems(
        case.candidates, case.rules, picked, relaxed, top_n=case.top_n, shown=shown, shown_items=shown_items
    )
    broken = broken_rules(case.candidates, case.rules, picked, shown=shown, shown_items=shown_items)
    found += [f"{rule} is named, but kept" for rule in relaxed if rule not in broken]
    found += [f"{item.id} has position {item.position}" for i, item in enumerate(items) if item.position != i + 1]
    return found + [f"{i.id} has index {i.index}" for i in items if case.candidates[i.index].id != i.id]


def check_pins(ruling: Ruling | None, items: Sequence[Item]) -> None:
    pins = {} if ruling is None else ruling.pins
    assert {place: item.index for place, item in enumerate(items) if item.pinned is True} == pins


def check_rungs(case: Case, models: Sequence[Model]) -> None:
    model = models[random.Random(case.seed).randrange(len(models))]
    request = as_request(case)
    ruling = deal_request(request, model).plan.ruling
    for rung, listing in all_rungs(request, model):
        assert faults(case, listing.items, listing.relaxed) == [], rung
        check_pins(ruling, listing.items)
        sources = {item.source for item in listing.items}
        if rung in ("input", "no formula"):
            assert sources <= {"input"}
        elif not rung.startswith("model"):
            assert sources <= {"formula"}
        else:
            assert [item.source for item in listing.items] == sorted(
                (item.source for item in listing.items), key=("model", "formula", "input").index
            )


@pytest.mark.long
@SOME
@given(CASES)
def test_every_rung_keeps_the_rules(ruled_models: Sequence[Model], case: Case) -> None:
    check_rungs(case, ruled_models)


@pytest.mark.long
@settings(SOME, max_examples=100)
@given(CASES)
def test_every_rung_of_degre_keeps_the_rules(ruled_degre_model: Model, case: Case) -> None:
    assert ruled_degre_model.ruled_inputs
    check_rungs(case, [ruled_degre_model])


@pytest.mark.slow
@MANY
@given(CASES)
def test_every_rung_keeps_the_rules_of_many_requests(ruled_models: Sequence[Model], case: Case) -> None:
    check_rungs(case, ruled_models)
