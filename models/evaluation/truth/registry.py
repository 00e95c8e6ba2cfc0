"""List every fit and every method by name, from the modules that define them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from models.evaluation.truth.fits import context_scorers, formulas, generators, scorers, value_models, variants
from models.evaluation.truth.method import Fit, Method
from models.evaluation.truth.methods import ceilings, generated, grid, sort_gen, sorts, variant_rows

_FIT_MODULES = (scorers, context_scorers, formulas, value_models, variants, generators)
FITS: Final[Mapping[str, Fit]] = {fit.name: fit for module in _FIT_MODULES for fit in module.FITS}

METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for module in (sorts, generated, sort_gen, ceilings, variant_rows, grid)
    for method in module.METHODS
}


def fits_behind(name: str, needs: Iterable[str], fits: Mapping[str, Fit] = FITS) -> list[Fit]:
    """List the fits that `needs` name, each behind those it needs.

    `name` is who needs them. Raises `ValueError` for a fit that does not exist, naming who needs it.
    """
    found: dict[str, Fit] = {}
    for need in needs:
        if need not in fits:
            raise ValueError(f"{name}: needs the fit {need!r}, which does not exist")
        found |= {fit.name: fit for fit in (*fits_behind(need, fits[need].needs, fits), fits[need])}
    return list(found.values())
