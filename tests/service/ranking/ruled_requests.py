"""Make requests of random rules, and lists for them on every rung."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, replace
from time import perf_counter

import msgspec

from models.contract.rules.definition import Rules
from service.bundles.model import Model
from service.contract.rule_schemas import BoostRule, CapRule, FloorRule, ListRules, PinRule, ShownItem
from service.contract.schemas import Candidate, Diversity, RerankRequest
from service.inference.engine import Answer, stack_rows
from service.ranking.dealt import DealtRequest, deal_request, encode_request, graph_inputs
from service.ranking.lists import Listing, bypass_list, degraded_list, model_list
from service.timing.deadline import Deadline
from tests.models.contract.rules.cases import Case

Where = dict[str, str | int | float | bool]


def list_rules(rules: Rules) -> ListRules:
    """The same rules as a request has them."""
    return ListRules(
        pinned=[PinRule(id=p.id, position=p.position) for p in rules.pinned] or None,
        blocked=sorted(rules.blocked) or None,
        caps=[CapRule(by=c.by, limit=c.limit, window=c.window) for c in rules.caps] or None,
        floors=msgspec.convert([asdict(floor) for floor in rules.floors], list[FloorRule]) or None,
        boosts=[BoostRule(where=msgspec.convert(b.where, Where), factor=b.factor) for b in rules.boosts] or None,
    )


def as_request(case: Case) -> RerankRequest:
    """The case as a request: every candidate has scores and a price, and some of them are alike."""
    chance = random.Random(case.seed)
    return RerankRequest(
        candidates=[
            Candidate(
                id=item.id,
                scores={"ctr": chance.choice([0.1, 0.2, chance.random()]), "cvr": chance.random()},
                price=chance.uniform(1, 50),
                features=dict(item.features),
                tags=dict(item.tags),
                embedding=msgspec.UNSET if item.embedding is None else msgspec.Raw(msgspec.json.encode(item.embedding)),
            )
            for item in case.candidates
        ],
        top_n=case.top_n,
        rules=list_rules(case.rules),
        shown=case.shown or None,
        shown_items=[
            ShownItem(
                id=item.id,
                tags=dict(item.tags),
                features=dict(item.features),
                embedding=None if item.embedding is None else list(item.embedding),
            )
            for item in case.shown_items
            if item.id in case.shown
        ],
        diversity=Diversity(trade_off=0.5, window=case.mmr_window),
        explain=chance.random() < 0.5,
    )


def model_answers(dealt: DealtRequest) -> Listing:
    """The model's list, run on this thread."""
    row = encode_request(dealt)
    outputs = dealt.model.engine.run(stack_rows([graph_inputs(dealt.model, row)]))
    return model_list(dealt, row, Answer({name: array[0] for name, array in outputs.items()}, 0.0, 0.0, 1))


def all_rungs(request: RerankRequest, model: Model) -> Iterator[tuple[str, Listing]]:
    """The request's list on every rung, each by its name."""
    in_time, late = Deadline(), Deadline(perf_counter() - 1)
    dealt = deal_request(request, model)
    if dealt.plan.top_n:
        yield "model", model_answers(dealt)
    yield "formula", degraded_list(dealt, "model-error", in_time)
    yield "input", degraded_list(dealt, "deadline", late)
    unlearnt = replace(model, manifest=replace(model.manifest, shares={"click": 0.0, "conversion": 0.0}))
    bypass = bypass_list(deal_request(request, unlearnt))
    assert bypass is not None
    yield "bypass", bypass
    unknown = replace(model, manifest=replace(model.manifest, fallback="margin"))
    dealt = deal_request(request, unknown)
    if dealt.plan.top_n:
        yield "model and input", model_answers(dealt)
    yield "no formula", degraded_list(dealt, "wait", in_time)
