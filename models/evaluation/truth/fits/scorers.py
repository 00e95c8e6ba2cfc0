"""Train scorers of single items: the pointwise model and lambdarank.

Both learn from the shown training lists, and the validation lists decide how many trees they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.baselines.scorers.lambdarank import fit_lambdarank
from models.baselines.scorers.pointwise import fit_pointwise_arrays
from models.evaluation.truth.method import Fit, FitContext


def _fit_pointwise(context: FitContext) -> Mapping[str, Any]:
    bench = context.bench
    model = fit_pointwise_arrays(bench.train, bench.held_out, bench.spec, seed=context.seed)
    model.save(context.folder)
    conversion = None if model.conversion is None else model.conversion.best_iteration
    return {"lists": len(bench.train), "click_trees": model.click.best_iteration, "conversion_trees": conversion}


def _fit_ltr(context: FitContext) -> Mapping[str, Any]:
    bench = context.bench
    model = fit_lambdarank(bench.train, bench.held_out, bench.spec, seed=context.seed)
    model.save(context.folder)
    return {"lists": len(bench.train), "trees": model.booster.best_iteration, "slope": model.calibration.slope}


FITS: Final[tuple[Fit, ...]] = (Fit("pointwise", _fit_pointwise), Fit("ltr", _fit_ltr))
