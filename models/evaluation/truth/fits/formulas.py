"""Search the exponents of formulas over prior scores: Pareto-efficient formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from models.baselines.selection.formulas import FormulaSearch, write_front
from models.evaluation.truth.method import TRIED, Fit, FitContext

FRONT_FILE: Final = "front.json"
"""The points of the front, in the folder of the fit."""

_SEARCH: Final = FormulaSearch(points=TRIED)


def _fit_pareto(context: FitContext) -> Mapping[str, Any]:
    points = _SEARCH(context.bench.train, context.bench.spec, seed=context.seed)
    write_front(context.folder / FRONT_FILE, points)
    return {"formulas": [point.formula for point in points]}


FITS: Final[tuple[Fit, ...]] = (Fit("pareto", _fit_pareto, lambda _: asdict(_SEARCH)),)
