"""Random rules are answered as they say, wrong ones are refused with their field, and the check itself finds faults."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from loadtest.requests.rules import SPOILS, rule_problem, ruled_request
from loadtest.resilience.fuzz.rules import fuzz_rules, judge_rules
from loadtest.resilience.fuzz.target import running_target
from tests.service.tiny_bundle import Options, write_bundle

RULES: dict[str, Any] = {
    "pinned": [{"id": "a", "position": 2}],
    "blocked": ["x"],
    "caps": [{"by": "brand", "limit": 1, "window": 2}, {"by": "source", "limit": 2}],
    "floors": [{"by": "source", "value": "new", "least": 1, "within": 2}],
}
REQUEST: dict[str, Any] = {
    "candidates": [
        {"id": "a", "tags": {"brand": "b1", "source": "new"}},
        {"id": "b", "tags": {"brand": "b2"}},
        {"id": "c", "tags": {"brand": "b1"}},
        {"id": "d", "tags": {"brand": "b3"}},
        {"id": "x", "tags": {}},
    ],
    "top_n": 3,
    "rules": RULES,
    "shown": ["s"],
    "shown_items": [{"id": "s", "tags": {"brand": "b3"}}],
}


def answer(ids: str, *relaxed: str) -> dict[str, Any]:
    return {"items": [{"id": name} for name in ids], "relaxed": list(relaxed)}


@pytest.mark.parametrize(
    ("ids", "relaxed", "problem"),
    [
        ("bad", (), None),
        ("bac", ("caps[0]",), None),
        ("bac", (), r"caps[0] is broken"),
        ("dab", (), r"caps[0] is broken"),
        ("abd", (), "a is not at its position 2"),
        ("ba", (), "2 items instead of 3"),
        ("bax", (), "may not be returned"),
        ("bab", (), "an id twice"),
        ("bda", (), "a is not at its position"),
    ],
)
def test_the_check_finds_what_is_not_kept(ids: str, relaxed: tuple[str, ...], problem: str | None) -> None:
    found = rule_problem(REQUEST, answer(ids, *relaxed))
    assert (found is None) if problem is None else problem in (found or "")


def test_a_floor_that_is_not_kept_is_found() -> None:
    request = {**REQUEST, "rules": {**RULES, "pinned": [], "caps": []}}
    assert rule_problem(request, answer("bda")) == "floors[0] is broken, and relaxed does not say so"
    assert rule_problem(request, answer("bda", "floors[0]")) is None


def test_requests_depend_on_the_seed_only() -> None:
    made = [[ruled_request(random.Random(seed)) for _ in range(3)] for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_some_requests_have_more_groups_than_a_graph() -> None:
    made = [ruled_request(random.Random(seed)) for seed in range(100)]
    brands = [len({one["tags"].get("brand") for one in request["candidates"]}) for request in made]
    assert 2 <= sum(count > 32 for count in brands) <= 30


def test_verdicts() -> None:
    refused = {"detail": "no", "errors": [{"field": "rules.caps[0].limit"}]}
    assert judge_rules(REQUEST, "a cap of 0", 422, refused) is None
    assert "is named instead of shown" in str(judge_rules(REQUEST, "10,000 shown ids", 422, refused))
    assert judge_rules(REQUEST, None, 422, refused) == "good rules are refused: no"
    assert judge_rules(REQUEST, "a cap of 0", 200, answer("bad")) == "a cap of 0: is answered"
    assert judge_rules(REQUEST, None, 500, {"detail": "why"}) == "status 500: why"


@pytest.mark.long
def test_a_service_keeps_random_rules_and_refuses_each_wrong_one(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    write_bundle(bundles, Options(groups=32))
    with running_target(bundles, tmp_path / "log") as target:
        findings = fuzz_rules(target, 40 * len(SPOILS), 1, tmp_path)
    assert [finding.fault for finding in findings.unexpected] == []
    assert set(findings.statuses) == {200, 422}
    assert findings.statuses[200] > findings.cases / 2
