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


def fits_of(methods: Iterable[Method]) -> list[Fit]:
    """List the fits that methods need, each behind those it needs itself. Raises `ValueError` for unknown names."""
    found: dict[str, Fit] = {}

    def add(name: str, wanted_by: str) -> None:
        if name in found:
            return
        if name not in FITS:
            raise ValueError(f"{wanted_by}: needs the fit {name!r}, which does not exist")
        for need in FITS[name].needs:
            add(need, name)
        found[name] = FITS[name]

    for method in methods:
        for need in method.needs:
            add(need, method.name)
    return list(found.values())
