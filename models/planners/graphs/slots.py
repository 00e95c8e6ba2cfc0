"""Lay all candidate columns in one matrix, so that a step needs one lookup.

Queues are laid one behind the other, each with h empty slots at its end, so that heads may run past it.

Axis letters: B batch, P looked up candidates, N = Q·L slots, M = Q·(L + h) padded, D width, F columns of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from models.contract.manifest import Limits
from models.nets.value import ListValueModel
from models.planners.graphs.context import ContextNodes, compared
from models.planners.graphs.graph import Graph
from models.planners.graphs.heads import Heads
from models.planners.graphs.inputs import candidate_tokens, item_columns
from models.planners.graphs.mmr import EMPTY, weighted_cosines

FACTORS: Final = 3


class Looked(NamedTuple):
    """Hold the columns of P candidates, [B, P, …] each.

    `token` D; `cosine` M, with every padded slot and times 1 − λ; `factors` 1, 1 and the price; `bar_and_slot` 0 or
    `EMPTY`, and the own padded slot; under rules `boost` and `seen`, as in `queue_rules.QueueRules`; `columns` what the
    heads take beside (`Heads.item_columns`); `raw` M raw cosines and `pairs` F·M, where the context wants them.
    """

    token: str
    cosine: str
    factors: str
    bar_and_slot: str
    boost: str
    seen: str
    columns: list[str]
    raw: str
    pairs: str


@dataclass(frozen=True)
class SlotTable:
    """Lay out the matrix for a model and limits."""

    model: ListValueModel
    limits: Limits
    heads: Heads
    context: ContextNodes | None
    ruled: bool

    @property
    def padded(self) -> int:
        """Count M, the padded slots."""
        return self.limits.queues * (self.limits.list_length + self.limits.head_width)

    def rows(self, g: Graph, zeros: str, rules: Sequence[str]) -> str:
        """Lay the matrix [B, M, …] from the inputs; `zeros` [B, 1, 1] lends constants a batch.

        `rules` are the columns of rules [B, M, …], none without.
        """
        d = self.model.config.dim
        price = g.op("Unsqueeze", "price", g.ints(2))
        valid = g.op("Unsqueeze", g.op("Cast", "valid", to=1), g.ints(2))
        # Everything that needs empty slots is joined first, so that one Pad serves all.
        names = self._floats()
        joined = g.concat(2, candidate_tokens(g, self.model.input), price, valid, *names, "embeddings")
        padded = self.pad(g, joined)
        # Cut apart again. A padded slot is not valid, and so has a bar.
        token = g.slice(padded, 2, 0, d)
        price = g.slice(padded, 2, d, d + 1)
        bar = g.op("Mul", g.op("Sub", g.slice(padded, 2, d + 1, d + 2), g.constant(1.0)), g.constant(-EMPTY))
        first = d + 2
        floats = {}
        for name, width in names.items():
            floats[name] = g.slice(padded, 2, first, first + width)
            first += width
        unit = g.slice(padded, 2, first, np.iinfo(np.int64).max)
        # Join in the order of `_sizes`.
        cosine = weighted_cosines(g, unit)
        slot = g.op("Add", zeros, g.constant(np.arange(self.padded)[None, :, None]))
        ones = g.op("Add", zeros, g.constant(np.ones((1, self.padded, 2))))
        own = [floats["priors"], g.op("Neg", floats["priors"])] if self.heads.item_columns else []
        return g.concat(2, token, cosine, ones, price, bar, slot, *rules, *own, *self._context(g, floats, unit))

    @property
    def columns(self) -> int:
        """Count the columns of the matrix."""
        return sum(self._sizes())

    def split(self, g: Graph, rows: str) -> Looked:
        """Split rows of the matrix [B, P, …] into their parts."""
        token, cosine, factors, bar_and_slot, *rest = g.split(rows, 2, *self._sizes())
        boost, seen = (rest.pop(0), rest.pop(0)) if self.ruled else ("", "")
        columns = [rest.pop(0)] if self.heads.item_columns else []
        raw = rest.pop(0) if len(rest) == 2 else ""
        return Looked(token, cosine, factors, bar_and_slot, boost, seen, columns, raw, rest[0] if rest else "")

    def pad(self, g: Graph, rows: str) -> str:
        """Pad rows of all slots [B, N, X] by h empty ones behind every queue, [B, M, X]."""
        limits = self.limits
        by_queue = g.op("Reshape", rows, g.ints(0, limits.queues, limits.list_length, -1))
        with_empty = g.op("Pad", by_queue, g.ints(0, 0, 0, 0, 0, 0, limits.head_width, 0))
        return g.op("Reshape", with_empty, g.ints(0, self.padded, -1))

    def _sizes(self) -> list[int]:
        """Count the columns of the parts, as in `Looked`."""
        m = self.padded
        sizes = [self.model.config.dim, m, FACTORS, 2]
        sizes += [1, self.limits.list_length] if self.ruled else []
        sizes += [self.heads.item_columns] if self.heads.item_columns else []
        if self.context is None:
            return sizes
        return sizes + ([m] if self.context.cosines else []) + [self.context.pair_columns * m]

    def _floats(self) -> dict[str, int]:
        """Count the columns of the further inputs that need the empty slots."""
        names = {"priors": self.heads.item_columns // 2} if self.heads.item_columns else {}
        if self.context is None:
            return names
        widths = item_columns(self.model.spec)
        return names | {name: widths[name] for name in ("item_numbers", "item_scores") if name in widths}

    def _context(self, g: Graph, floats: dict[str, str], unit: str) -> list[str]:
        """Lay raw cosines and pairs, as far as the context uses them."""
        context = self.context
        if context is None:
            return []
        # What an empty slot is equal to does not matter, and CUDA pads no integers.
        length, ends = self.limits.list_length, self.limits.list_length + self.limits.head_width
        slots = g.ints(*(q * length + min(i, length - 1) for q in range(self.limits.queues) for i in range(ends)))
        ids = {"item_ids": g.op("Gather", "item_ids", slots, axis=1)} if self.model.spec.item_categoricals else {}
        items = compared(g, {**floats, **ids, "embeddings": unit})
        pairs = g.op("Reshape", context.pairs(items), g.ints(-1, self.padded, context.pair_columns * self.padded))
        return [context.raw_cosines(unit), pairs] if context.cosines else [pairs]
