"""The service, offline preparation and the peers' pipeline deal alike, held to a reference in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from loadtest.peers import schemas
from loadtest.peers.pipeline import Pipeline
from models.contract.features import Encoder
from models.contract.manifest import Limits, Manifest, Partition, QueueSpec
from models.data.records import Candidate, ListRecord
from models.planners.prepare import Preparer
from models.planners.references.sort_gen import Preferences
from service.bundles.model import Model
from service.contract.problems import Problem
from service.ranking.dealt import deal_request, encode_request
from tests.service.live import FakeEngine
from tests.service.requests import decoded
from tests.service.tiny_bundle import SPEC, Options, write_bundle

Values = Mapping[str, float]
FORMULAS: Mapping[str, Callable[[Values], float]] = {
    "ctr": lambda c: c["ctr"],
    "ctr*cvr": lambda c: c["ctr"] * c["cvr"],
    "ctr*cvr*price": lambda c: c["ctr"] * c["cvr"] * c["price"],
    "alpha*ctr + gamma*ctr*price": lambda c: c["alpha"] * c["ctr"] + c["gamma"] * c["ctr"] * c["price"],
    "0.5*ctr - relevance": lambda c: 0.5 * c["ctr"] - c["relevance"],
    "1/relevance": lambda c: 1 / c["relevance"] if c["relevance"] else math.inf,
    "-quality": lambda c: -c["quality"],
    "beta": lambda c: c["beta"],
}
NAMES = ("ctr", "cvr", "relevance", "quality", "price")
DEFAULTS = {"ctr": 0.05, "cvr": 0.02, "relevance": 0.0, "price": 20.0}
SHAPES = (Limits(list_length=3, queues=3), Limits(list_length=5, queues=2))


class Refused(Exception):
    """The reference refuses the request, naming the field."""


@dataclass(frozen=True)
class Wish:
    """What a request asks for beside its candidates; `formulas` of None are the bundle's."""

    formulas: Sequence[str] | None
    partition: Partition | None
    weights: tuple[float, float, float]
    fallback: str


@dataclass(frozen=True)
class Dealt:
    """Per slot its candidate and its queue, and the slots of the sort's list."""

    candidates: list[int]
    queues: list[int]
    sort: list[int]


def names_of(formula: str) -> list[str]:
    return [name for name in sorted(NAMES) if name in formula]


def complete(rows: Sequence[Values], formula: str, field: str, defaults: Values) -> list[dict[str, float]]:
    """The candidates with every value that the formula names."""
    full = [dict(row) for row in rows]
    for name in names_of(formula):
        lacking = [i for i, row in enumerate(rows) if name not in row]
        if len(lacking) == len(rows) and not (name == "price" and name in defaults):
            raise Refused(field)
        if lacking and name not in defaults:
            raise Refused(f"candidates[{lacking[0]}]." + (name if name == "price" else f"scores.{name}"))
        for i in lacking:
            full[i][name] = defaults[name]
    return full


def reference(rows: Sequence[Values], wish: Wish, manifest: Manifest, defaults: Values) -> Dealt:
    """By definition, one candidate at a time. Raises `Refused`."""
    weights = dict(zip(("alpha", "beta", "gamma"), wish.weights, strict=True))

    def column(formula: str, field: str) -> list[float]:
        return [FORMULAS[formula]({**row, **weights}) for row in complete(rows, formula, field, defaults)]

    for name in ("ctr", "cvr"):
        for i, row in enumerate(rows):
            if not 0 <= row.get(name, 0.5) <= 1:
                raise Refused(f"candidates[{i}].scores.{name}")
    formulas = [q.score for q in manifest.queues] if wish.formulas is None else wish.formulas
    fields = ["candidates" if wish.formulas is None else f"queues[{q}].score" for q in range(len(formulas))]
    scores = [column(formula, field) for formula, field in zip(formulas, fields, strict=True)]
    for field, values in zip(fields, scores, strict=True):
        if not all(map(math.isfinite, values)):
            raise Refused(field)
    slots, length = manifest.limits.slots, manifest.limits.list_length
    candidates, left = [-1] * slots, list(range(len(rows)))
    turns = [(q, rank) for q in range(len(formulas)) for rank in range(length)]
    if (wish.partition or manifest.partition) == "bfs":
        turns.sort(key=lambda turn: turn[1])
    for q, rank in turns:
        if left:
            best = max(left, key=lambda i: (scores[q][i], -i))
            left.remove(best)
            candidates[q * length + rank] = best
    try:
        values = column(wish.fallback, "")
    except Refused:
        return Dealt(candidates, [s // length for s in range(slots)], [-1] * length)
    held = [s for s in range(slots) if candidates[s] >= 0]
    held.sort(
        key=lambda s: (not math.isfinite(v := values[candidates[s]]), -v if math.isfinite(v) else 0, candidates[s])
    )
    return Dealt(candidates, [s // length for s in range(slots)], (held + [-1] * length)[:length])


@dataclass(frozen=True)
class House:
    """One bundle behind all three ways."""

    model: Model
    pipeline: Pipeline
    defaults: Values

    def served(self, sent: dict[str, Any], wish: Wish) -> tuple[Dealt, dict[str, Any]]:
        """What the service deals, and its graph inputs. Raises `Problem`."""
        model = replace(self.model, manifest=replace(self.model.manifest, fallback=wish.fallback))
        dealt = deal_request(decoded(sent), model)
        row = encode_request(dealt)
        return Dealt(dealt.slots.candidates.tolist(), dealt.slots.queues.tolist(), row["sort_slots"].tolist()), row

    def prepared(self, sent: dict[str, Any], wish: Wish) -> tuple[list[int], dict[str, Any]]:
        """The candidates in slots and graph inputs that offline evaluation makes. Raises `ValueError`."""
        manifest = self.model.manifest
        queues = manifest.queues if wish.formulas is None else [QueueSpec(f, f) for f in wish.formulas]
        strategy = wish.partition or manifest.partition
        prepare = Preparer(self.model.encoder, manifest.limits, queues, strategy, sort=wish.fallback)
        made = tuple(Candidate(**{**c, "embedding": tuple(c["embedding"])}) for c in sent["candidates"])
        record = ListRecord("r-1", made, (), (), user=sent["user"], context=sent["context"])
        preferences = Preferences(
            wish.weights, trade_off=manifest.diversity.trade_off, window=manifest.diversity.window
        )
        arrays, slots = prepare(record, preferences)
        return slots.tolist(), {name: array[0] for name, array in arrays.items()}

    def at_peers(self, sent: dict[str, Any], wish: Wish) -> tuple[list[int], dict[str, Any]]:
        """The candidates in slots and graph inputs that a peer makes."""
        self.pipeline.manifest = replace(self.model.manifest, fallback=wish.fallback)
        found = self.pipeline.prepare(msgspec.convert(sent, schemas.PeerRequest))
        return found.slots.tolist(), dict(found.row)


@pytest.fixture(scope="module", params=["with a price", "without a price"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> House:
    """A bundle whose graph takes the sort's list, of a spec with or without a price."""
    priced = request.param == "with a price"
    options = Options(spec=SPEC if priced else replace(SPEC, price=None), limits=SHAPES[priced], knows_sort=True)
    folder = write_bundle(tmp_path_factory.mktemp("bundle"), options)
    manifest = Manifest.read(folder)
    defaults = {name: value for name, value in DEFAULTS.items() if priced or name != "price"}
    return House(Model(manifest, Encoder(manifest.spec), FakeEngine(options)), Pipeline(folder), defaults)


probability = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]) | st.floats(0, 1)
real = st.sampled_from([-1.0, 0.5, 2.0]) | st.floats(-100, 100)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, float]]:
    """Candidates, most of which have all scores; now and then one is no probability, or a name is missing for all."""
    n = draw(st.integers(1, 25))
    absent = draw(st.sets(st.sampled_from(NAMES), max_size=1)) if draw(st.integers(0, 3)) == 0 else set()
    some = draw(st.sampled_from([(), (), ("price",), ("ctr", "relevance"), NAMES]))
    made = []
    for _ in range(n):
        row = {"ctr": draw(probability), "cvr": draw(probability), "relevance": draw(real), "quality": draw(real)}
        row["price"] = draw(st.sampled_from([0.0, 10.0, 99.5]) | st.floats(0, 1e6))
        gone = draw(st.sets(st.sampled_from(some), max_size=2)) if some else set()
        made.append({name: value for name, value in row.items() if name not in absent | gone})
    if draw(st.integers(0, 9)) == 0:
        made[draw(st.integers(0, n - 1))]["ctr"] = draw(st.sampled_from([-0.5, 1.5]))
    return made


formula = st.sampled_from(list(FORMULAS))
wishes = st.builds(
    Wish,
    formulas=st.none() | st.lists(formula, min_size=1, max_size=2, unique=True),
    partition=st.sampled_from([None, "bfs", "dfs"]),
    weights=st.tuples(st.sampled_from([1.0, 5.0]), st.sampled_from([0.0, 2.5]), st.sampled_from([0.0, 1.0])),
    fallback=formula,
)


def body(made: Sequence[Values], wish: Wish) -> dict[str, Any]:
    """The request as JSON holds it."""
    sent: dict[str, Any] = {"user": {"age": "25-34", "visits": 3}, "context": {"hour": 21}, "candidates": []}
    for i, row in enumerate(made):
        one = {"id": f"sku-{i}", "features": {"category": "hats", "stars": i % 6}, "embedding": [float(i), 1.0]}
        one["scores"] = {name: value for name, value in row.items() if name != "price"}
        sent["candidates"].append(one | ({"price": row["price"]} if "price" in row else {}))
    sent["objectives"] = dict(zip(("click", "conversion", "gmv"), wish.weights, strict=True))
    if wish.formulas is not None:
        sent["queues"] = [{"name": f, "score": f} for f in wish.formulas]
    return sent | ({} if wish.partition is None else {"partition": wish.partition})


def answer(made: Sequence[Values], wish: Wish, house: House) -> Dealt | str:
    """What the reference deals, or the field for which it refuses the request."""
    try:
        return reference(made, wish, house.model.manifest, house.defaults)
    except Refused as refused:
        return str(refused)


@pytest.mark.long
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=rows(), wish=wishes)
def test_all_three_deal_as_the_reference_does_or_refuse_what_it_refuses(
    house: House, made: list[dict[str, float]], wish: Wish
) -> None:
    sent = body(made, wish)
    expected = answer(made, wish, house)
    if isinstance(expected, str):
        event("refused")
        with pytest.raises(Problem) as problem:
            house.served(sent, wish)
        assert [error.field for error in problem.value.errors] == [expected]
        with pytest.raises(ValueError, match="list 'r-1': "):
            house.prepared(sent, wish)
        return
    event("dealt, with a sort" if max(expected.sort) >= 0 else "dealt, without a sort")
    dealt, row = house.served(sent, wish)
    assert dealt == expected
    for slots, arrays in (house.prepared(sent, wish), house.at_peers(sent, wish)):
        assert slots == expected.candidates
        assert arrays.keys() == row.keys()
        for name, array in row.items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)
            assert arrays[name].dtype == array.dtype
