"""Hold the formula's list under rules, with MMR, to a plain reference that knows every open candidate."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from models.contract.rules.ledger import Ledger
from service.ranking.dealt import DealtRequest, deal_request
from service.ranking.ruled import ruled_formula_list
from tests.service.live import fake_model
from tests.service.requests import decoded, request
from tests.service.tiny_bundle import Options

MODEL = fake_model(options=Options(groups=32, fallback="ctr"))
Vector = Sequence[float] | None


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def random_request(seed: int) -> dict[str, Any]:
    """Few candidates, so that all are in the pool; skewed brands, some without an embedding, some shown before."""
    chance = random.Random(seed)
    n = chance.randrange(2, 14)
    sent = request(n, top_n=5, diversity={"lambda": chance.choice([0.2, 0.6]), "window": chance.randrange(1, 5)})
    for made in sent["candidates"]:
        made["tags"] = {"brand": chance.choice("aaabbc")}
        made["scores"] = {"ctr": chance.random(), "cvr": 0.1}
        made["embedding"] = [chance.gauss(0, 1) for _ in range(3)] if chance.random() < 0.8 else None
    sent["rules"] = {
        "caps": [{"by": "brand", "limit": chance.randrange(1, 3), "window": chance.choice([2, 3, None])}],
        "boosts": [{"where": {"brand": "b"}, "factor": chance.choice([0.5, 1.5])}],
        "pinned": [{"id": f"sku-{chance.randrange(n)}", "position": chance.randrange(1, 6)}],
    }
    sent["shown"] = [f"old-{i}" for i in range(chance.randrange(4))]
    sent["shown_items"] = [
        {"id": name, "tags": {"brand": "a"}, "embedding": [chance.gauss(0, 1) for _ in range(3)]}
        for name in sent["shown"]
        if chance.random() < 0.7
    ]
    return sent


def reference(sent: dict[str, Any], dealt: DealtRequest) -> list[int]:
    """Choose one by one among all that may stand at a place, by SORT-Gen's eq. 6 read word by word."""
    plan, candidates = dealt.plan, sent["candidates"]
    assert plan.ruling is not None
    ledger = Ledger(plan.ruling)
    shown = {item["id"]: item["embedding"] for item in sent["shown_items"]}
    line: list[Vector] = [shown.get(name) for name in sent["shown"]]
    factor = sent["rules"]["boosts"][0]["factor"]
    chosen: list[int] = []
    for _ in range(plan.top_n):
        free = [i for i, is_open in enumerate(ledger.settle()) if is_open]
        relaxed = not ledger.open().any()
        recent = [vector for vector in line[-plan.window :] if vector is not None]
        near = {
            i: max((cosine(candidates[i]["embedding"], v) for v in recent), default=0.0)
            for i in free
            if candidates[i]["embedding"] is not None
        }
        mean = sum(near.values()) / len(near) if near else 0.0

        def value(i: int, near: dict[int, float] = near, mean: float = mean, relaxed: bool = relaxed) -> float:
            made = candidates[i]
            worth: float = made["scores"]["ctr"] * (factor if made["tags"]["brand"] == "b" else 1)
            worth /= sum(plan.weights)
            # Where rules must be relaxed, the fill goes by worth alone.
            return worth if relaxed else plan.trade_off * worth - (1 - plan.trade_off) * near.get(i, mean)

        best = max(free, key=value)
        ledger.put(best)
        chosen.append(best)
        line.append(candidates[best]["embedding"])
    return chosen


def test_every_choice_is_the_best_of_those_that_may_stand_there() -> None:
    relaxed = 0
    for seed in range(300):
        sent = random_request(seed)
        dealt = deal_request(decoded(sent), MODEL)
        assert dealt.plan.ruling is not None
        ledger = Ledger(dealt.plan.ruling)
        places = ruled_formula_list(dealt, dealt.plan.ruling, ledger)
        assert places is not None
        assert [i for i, _ in places] == reference(sent, dealt), seed
        relaxed += bool(ledger.relaxed)
    assert 30 < relaxed < 270
