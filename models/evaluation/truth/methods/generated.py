"""Plan with scorers that see all candidates, and with learnt generators of lists."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from models.contract.arrays import Ints
from models.data.records import ListRecord
from models.data.slates import encode_slates
from models.evaluation.truth.fits.context_scorers import FFT_FIT, PRM_FIT, ContextScorer
from models.evaluation.truth.fits.generators import load_generator
from models.evaluation.truth.method import Method, PlanContext, Setting
from models.evaluation.truth.selecting import TRADE_OFFS, dpp, plan_by_scores, sort

_DECODED: Final = 256
"""Requests of a pass of a generator."""


def _by_clicks(fit: str, context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
    """Sort by the objective formula over a scorer's clicks; a setting selects by a DPP."""
    scorer = ContextScorer.load(fit, context.needs[fit], context.bench)
    select = sort if setting is None else dpp(setting)
    return plan_by_scores(context, records, scorer(records), select)


def _decode(fit: str, context: PlanContext, records: Sequence[ListRecord], _: Setting) -> Ints:
    """Decode lists greedily by a generator, whatever the preferences."""
    bench = context.bench
    model = load_generator(fit, context.needs[fit], bench)
    parts = []
    for start in range(0, len(records), _DECODED):
        slates = encode_slates(records[start : start + _DECODED], bench.spec, bench.length)
        parts.append(model.generate(slates.tensors(bench.device), bench.length).cpu().numpy())
    return np.concatenate(parts)


_GENERATORS: Final = {
    "goalrank": ("GoalRank", "rivals"),
    "nar4rec": ("NAR4Rec", "rivals"),
    "gref": ("GReF", "rivals"),
    "nlgr": ("NLGR-G", "rivals"),
    "degre": ("DeGRe", "ours"),
    "degre-no-search": ("DeGRe, mined without local search", "ours"),
}
"""Title and group by the name of method and fit."""

METHODS: Final[tuple[Method, ...]] = (
    Method("prm", "PRM", "rivals", partial(_by_clicks, PRM_FIT), needs=(PRM_FIT,)),
    Method("fft", "FFT context model", "rivals", partial(_by_clicks, FFT_FIT), needs=(FFT_FIT,)),
    Method(
        "fft-dpp",
        "FFT context model + fastDPP",
        "rivals",
        partial(_by_clicks, FFT_FIT),
        needs=(FFT_FIT,),
        settings=TRADE_OFFS,
    ),
    *(
        Method(name, title, group, partial(_decode, name), needs=(name,))
        for name, (title, group) in _GENERATORS.items()
    ),
)
