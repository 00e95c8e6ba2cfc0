"""Plan lists under caps inside the selection, or by repair of the finished list.

Letters: n requests, m places, N slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from models.contract.arrays import Arrays, Ints
from models.contract.features import Encoder, encode_preferences
from models.contract.manifest import SORT_SLOTS, Limits, QueueSpec
from models.contract.partition import sorted_slots
from models.contract.rules.definition import Rules
from models.contract.rules.ledger import Ledger, fill
from models.contract.rules.ruling import Ruling, compile_rules
from models.contract.rules.tensors import GROUPS, rule_tensors
from models.contract.scalars import Scalar
from models.contract.slots import ScoreTable, fill_slots, sort_slots
from models.data.records import Candidate, ListRecord
from models.nets.checkpoint import Checkpoint, GeneratorCheckpoint
from models.planners.graphs.degre import pointer_graph
from models.planners.graphs.graph import Graph
from models.planners.graphs.sort_gen import queue_graph
from models.planners.objective import default_queues, objective_formula
from models.planners.references.sort_gen import Preferences
from models.planners.runtime import GraphPlanner

_MOST_CANDIDATES: Final = 200
"""Candidates that a generator looks at."""


@dataclass(frozen=True, slots=True)
class RuledItem:
    """Show a record's candidate to rules, which also look for tags; a record has none."""

    id: str
    scores: Mapping[str, float]
    price: float | None
    features: Mapping[str, Scalar]
    embedding: Sequence[float] | None
    tags: Mapping[str, Scalar] = field(default_factory=dict)

    @classmethod
    def of(cls, candidate: Candidate) -> RuledItem:
        """Take a candidate of a list record."""
        return cls(candidate.id, candidate.scores, candidate.price, candidate.features, candidate.embedding)


_Plan = Callable[[Sequence[RuledItem], ListRecord, Ruling, Ledger], list[int]]
"""Puts the items that it plans in the ledger, and returns them."""


class RuledLists(NamedTuple):
    """Hold lists [n, m] of candidate indices, and how many of them the planner ended early."""

    lists: Ints
    ended_early: int


@dataclass(frozen=True, eq=False)
class RuledPlanner:
    """Plan with both graphs of one model, as a service with a default bundle does."""

    encoder: Encoder
    limits: Limits
    queues: Sequence[QueueSpec]
    formula: str
    plain: GraphPlanner
    ruled: GraphPlanner
    any_slots: bool

    @classmethod
    def of(
        cls, checkpoint: Checkpoint | GeneratorCheckpoint, length: int, *, head_width: int, beam_width: int
    ) -> RuledPlanner:
        """Build both graphs of a value model or of a generator.

        A generator sees all candidates and decodes greedily, so it has no heads and no beam.
        """
        formula = objective_formula(checkpoint.spec, checkpoint.units)
        if isinstance(checkpoint, Checkpoint):
            queues = default_queues(checkpoint.spec, checkpoint.units)
            limits = Limits(length, len(queues), head_width, beam_width=beam_width)
            model, units = checkpoint.model, checkpoint.units

            def build(groups: int) -> Graph:
                return queue_graph(model, limits, units, groups=groups)
        else:
            queues = (QueueSpec("formula", formula),)
            limits = Limits(length, 1, queue_length=_MOST_CANDIDATES)
            generator, evaluator = checkpoint.generator, checkpoint.evaluator

            def build(groups: int) -> Graph:
                return pointer_graph(generator, evaluator, limits, groups=groups)

        plain, ruled = (GraphPlanner(build(groups).build({})) for groups in (0, GROUPS))
        any_slots = not isinstance(checkpoint, Checkpoint)
        return cls(Encoder(checkpoint.spec), limits, queues, formula, plain, ruled, any_slots)

    def inside(self, records: Sequence[ListRecord], rules: Rules, preferences: Preferences) -> RuledLists:
        """Keep the rules in every step of the selection."""

        def plan(items: Sequence[RuledItem], record: ListRecord, ruling: Ruling, ledger: Ledger) -> list[int]:
            planned = self._plan(items, record, preferences, ruling)
            for item in planned:
                ledger.put(item)
            return planned

        return self._lists(records, rules, preferences, plan)

    def repaired(self, records: Sequence[ListRecord], rules: Rules, preferences: Preferences) -> RuledLists:
        """Apply the rules to the finished list.

        At every place the first item of what is left of the plain list is taken that may stand there.
        """

        def plan(items: Sequence[RuledItem], record: ListRecord, ruling: Ruling, ledger: Ledger) -> list[int]:
            del ruling  # The plain list knows of no rules.
            waiting = self._plan(items, record, preferences, None)
            kept: list[int] = []
            # Past the list's end nothing may stand.
            while found := [item for item in waiting if ledger.open()[item]]:
                ledger.put(found[0])
                waiting.remove(found[0])
                kept.append(found[0])
            return kept

        return self._lists(records, rules, preferences, plan)

    def _lists(self, records: Sequence[ListRecord], rules: Rules, preferences: Preferences, plan: _Plan) -> RuledLists:
        """Plan each record's list, and fill what is left of it by the formula."""
        length = self.limits.list_length
        lists, ended = np.empty((len(records), length), np.int64), 0
        for row, record in zip(lists, records, strict=True):
            items = [RuledItem.of(candidate) for candidate in record.candidates]
            ruling = compile_rules(items, rules, top_n=length)
            ledger = Ledger(ruling)
            planned = plan(items, record, ruling, ledger)
            ended += len(planned) < length
            table = ScoreTable(items, preferences.weights, self.encoder.spec)
            worth = table.score(self.formula, "candidates", needed_by="the sort")
            ranked = sorted_slots(worth, np.arange(len(items)), len(items)).tolist()
            row[:] = [*planned, *fill(ledger, ranked, length - len(planned))]
        return RuledLists(lists, ended)

    def _plan(
        self, items: Sequence[RuledItem], record: ListRecord, preferences: Preferences, ruling: Ruling | None
    ) -> list[int]:
        """Run the plain graph, or the ruled one under a ruling; returns candidate indices."""
        graph = self.plain if ruling is None else self.ruled
        arrays, slots = self._encode(items, record, preferences, ruling)
        order = graph({name: array[None] for name, array in arrays.items()})["order"][0]
        return [int(slots[slot]) for slot in order.tolist() if slot >= 0]

    def _encode(
        self, items: Sequence[RuledItem], record: ListRecord, preferences: Preferences, ruling: Ruling | None
    ) -> tuple[Arrays, Ints]:
        length, shape = self.limits.list_length, (self.limits.queues, self.limits.queue_length)
        table = ScoreTable(items, preferences.weights, self.encoder.spec)
        dealt = fill_slots(table, self.queues, "bfs", shape, ruling=ruling, steps=length)
        slots = (dealt.filled() if self.any_slots else dealt).candidates
        arrays = self.encoder.encode_slots(items, slots) | self.encoder.encode_user(record.user, record.context)
        arrays |= encode_preferences(preferences.weights, preferences.trade_off, preferences.window)
        arrays[SORT_SLOTS] = sort_slots(table, self.formula, slots, length, ruling=ruling)
        if ruling is not None:
            arrays |= rule_tensors(ruling, slots, length=length, groups=GROUPS)
        return arrays, slots
