"""Plan the rows of SORT-Gen's Table 2, and the ablations of ours.

Table 2 compares with SORT-Gen as in the paper, and every row but that without MMR tries as many λ:

- *template*: no model; the queues take turns, in their order of priority, and a queue's turn fills the next place with
  its next item;
- *ranking-top*: one queue, the formula's, which proposes as many items at every step as the queues do together; with
  its first item alone nothing would be left to choose;
- *pointwise-loss*, *esmm-loss*: another head and loss in place of the ordered regression;
- *without-mmr*: λ = 1.

The others compare with SORT-Gen (h = 2, λ = 1), greedy, and with its beam where the name ends so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from models.contract.arrays import Ints
from models.contract.candidates import ObjectTable
from models.contract.slots import ScoreTable, fill_slots
from models.contract.spec import OBJECTIVES
from models.data.records import ListRecord
from models.evaluation.truth.fits import variants
from models.evaluation.truth.fits.value_models import SORT, SORT_PAPER
from models.evaluation.truth.method import Method, PlanContext, Setting
from models.evaluation.truth.methods.sort_gen import BEAM, GREEDY, PAPER, TRADE_OFFS
from models.evaluation.truth.searches import QueueSearch, queue_plan
from models.planners.objective import default_queues

GROUP: Final = "ablations"

_QUEUES: Final = 4
"""Default queues of a world with prices: clicks, purchases, GMV and the formula."""

_VARIANTS: Final = {
    "no-skip": (variants.NO_SKIP, "without skip"),
    "no-gate": (variants.NO_GATE, "without gate"),
    "ordered-loss": (variants.ORDERED_LOSS, "ordered loss"),
    "no-context": (variants.NO_CONTEXT, "without list-context features"),
    "no-affinity": (variants.NO_AFFINITY, "without affinities among them"),
    "states-1": (variants.STATES_1, "K = 1"),
    "states-2": (variants.STATES_2, "K = 2"),
    "states-all": (variants.STATES_ALL, "K = L"),
}
_HEAD_WIDTHS: Final = (1, 2, 4)
_BEAM_WIDTHS: Final = (1, 2, 4, 8)
_WINDOWS: Final = (1, 2, 4, 8)
_WINDOW_TRADE_OFF: Final = 0.9
"""λ of the rows of windows, which are nothing without MMR."""


def plan_template(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
    """Fill places from the queues in turns, lists [n, m]."""
    del setting  # there is none
    spec, length = context.bench.spec, context.bench.length
    queues = default_queues(spec, dict(zip(OBJECTIVES, context.preferences.units, strict=True)))
    lists = np.full((len(records), length), -1, np.int64)
    for row, record in zip(lists, records, strict=True):
        table = ScoreTable(ObjectTable(record.candidates), context.preferences.weights, spec)
        slots = fill_slots(table, queues, "bfs", (len(queues), length)).candidates
        # Rank by rank, which is how queues that take turns are read.
        turns = slots.reshape(len(queues), length).T.ravel()
        chosen = turns[turns >= 0][:length]
        row[: len(chosen)] = chosen
    return lists


def _of_paper(name: str, title: str, fit: str, search: QueueSearch = PAPER) -> Method:
    plan = queue_plan(fit, search, tuned=True)
    return Method(name, title, GROUP, plan, needs=(fit,), settings=TRADE_OFFS)


def _table_2() -> Iterator[Method]:
    """List the rows of Table 2 in its order."""
    title = "Multi-objective queues + template method"
    yield Method("template", title, GROUP, plan_template, seeded=False)
    top = replace(PAPER, queues=1, head_width=_QUEUES)
    yield _of_paper("ranking-top", "SORT-Gen w/o multi-objective queues + ranking-top queue", SORT_PAPER, top)
    title = "SORT-Gen w/o ordered regression + point-wise classification"
    yield _of_paper("pointwise-loss", title, variants.POINTWISE_LOSS)
    yield _of_paper("esmm-loss", "SORT-Gen w/o ordered regression + ESMM-like modeling loss", variants.ESMM)
    plan = queue_plan(SORT_PAPER, PAPER)
    yield Method("without-mmr", "SORT-Gen w/o integrated MMR", GROUP, plan, needs=(SORT_PAPER,))


def _ours(name: str, title: str, search: QueueSearch, fit: str = SORT) -> Method:
    return Method(name, title, GROUP, queue_plan(fit, search), needs=(fit,))


def _models() -> Iterator[Method]:
    """List ours with other value models."""
    for name, (fit, title) in _VARIANTS.items():
        yield _ours(name, f"SORT-Gen, {title}", GREEDY, fit)
        yield _ours(f"{name}-beam", f"SORT-Gen with its beam, {title}", BEAM, fit)


def _searches() -> Iterator[Method]:
    """List ours with other queues and widths."""
    yield _ours("dfs", "SORT-Gen, queues by DFS", replace(GREEDY, partition="dfs"))
    yield _ours("dfs-beam", "SORT-Gen with its beam, queues by DFS", replace(BEAM, partition="dfs"))
    for count in range(1, _QUEUES + 1):
        word = "1 queue" if count == 1 else f"{count} queues"
        yield _ours(f"queues-{count}", f"SORT-Gen, {word}", replace(GREEDY, queues=count))
        yield _ours(f"queues-{count}-beam", f"SORT-Gen with its beam, {word}", replace(BEAM, queues=count))
    for width in _HEAD_WIDTHS:
        yield _ours(f"heads-{width}", f"SORT-Gen, h = {width}", replace(GREEDY, head_width=width))
        yield _ours(f"heads-{width}-beam", f"SORT-Gen with its beam, h = {width}", replace(BEAM, head_width=width))
    for width in _BEAM_WIDTHS:
        yield _ours(f"beam-{width}", f"SORT-Gen, W = {width}", replace(GREEDY, beam_width=width))


def _diversity() -> Iterator[Method]:
    """List ours with MMR: λ chosen as in the paper, and fixed ones."""
    plan = queue_plan(SORT, GREEDY, tuned=True)
    yield Method("with-mmr", "SORT-Gen with MMR", GROUP, plan, needs=(SORT,), settings=TRADE_OFFS)
    for trade_off in TRADE_OFFS:
        plan = queue_plan(SORT, GREEDY, trade_off=trade_off)
        yield Method(f"lambda-{trade_off:g}", f"SORT-Gen, λ = {trade_off:g}", GROUP, plan, needs=(SORT,))
    for window in _WINDOWS:
        plan = queue_plan(SORT, GREEDY, trade_off=_WINDOW_TRADE_OFF, window=window)
        title = f"SORT-Gen, λ = {_WINDOW_TRADE_OFF:g}, window {window}"
        yield Method(f"window-{window}", title, GROUP, plan, needs=(SORT,))


METHODS: Final[tuple[Method, ...]] = (*_table_2(), *_models(), *_searches(), *_diversity())
