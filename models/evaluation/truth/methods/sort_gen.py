"""Plan by SORT-Gen: as in the paper, greedy, and with its beam."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.fits.value_models import SORT, SORT_PAPER
from models.evaluation.truth.method import Method
from models.evaluation.truth.searches import QueueSearch, queue_plan

TRADE_OFFS: Final[tuple[float, ...]] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
"""Values of MMR's λ that are tried; 1 is without MMR. A slot of the log is worth 1, a cosine is at most 1."""

PAPER: Final = QueueSearch(head_width=1, partition="dfs")
"""The paper's search (§3.2): the heads of the queues alone, one list, queues filled by priority."""

GREEDY: Final = QueueSearch()
BEAM: Final = QueueSearch(beam_width=None)
WIDE_BEAM: Final = QueueSearch(head_width=4, beam_width=None)

METHODS: Final[tuple[Method, ...]] = (
    Method(
        "sort-gen-paper",
        "SORT-Gen as in the paper",
        "ours",
        queue_plan(SORT_PAPER, PAPER, tuned=True),
        needs=(SORT_PAPER,),
        settings=TRADE_OFFS,
    ),
    Method("sort-gen", "SORT-Gen", "ours", queue_plan(SORT, GREEDY), needs=(SORT,)),
    Method("sort-gen-beam", "SORT-Gen with its beam", "ours", queue_plan(SORT, BEAM), needs=(SORT,)),
    Method("sort-gen-beam-wide", "SORT-Gen with its beam, h = 4", "ours", queue_plan(SORT, WIDE_BEAM), needs=(SORT,)),
)
