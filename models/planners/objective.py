"""Write the item-level objective as a formula over prior scores, and its queues (SORT-Gen §3.2.1).

A platform sorts by this formula before it has a list model. Here it is one more queue, the order of the candidates that
the model does not reach, and the baseline of every comparison.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.contract.formulas import WEIGHT_NAMES
from models.contract.manifest import QueueSpec
from models.contract.spec import OBJECTIVES, FeatureSpec


def objective_terms(spec: FeatureSpec) -> dict[str, str]:
    """Map each objective to its estimate, a formula; raises `ValueError` without a score ``ctr``."""
    scores = {field.name for field in spec.scores}
    if "ctr" not in scores:
        raise ValueError("the data has no score 'ctr' to make default queues of; name the queues")
    terms = {"click": "ctr"}
    if "cvr" in scores:
        terms["conversion"] = "ctr*cvr"
        if spec.price is not None:
            terms["gmv"] = "ctr*cvr*price"
    return terms


def objective_formula(spec: FeatureSpec, units: Mapping[str, float]) -> str:
    """Write α·ctr/s + β·ctr·cvr/s + γ·ctr·cvr·price/s, with the units s_o of the value model's increments."""
    names = dict(zip(OBJECTIVES, WEIGHT_NAMES, strict=True))
    return " + ".join(f"{names[o]}*{term}/{units[o]:.6g}" for o, term in objective_terms(spec).items())


def default_queues(spec: FeatureSpec, units: Mapping[str, float]) -> tuple[QueueSpec, ...]:
    """Define one queue per objective that the scores allow, then one by the objective formula."""
    terms = objective_terms(spec)
    return (
        *(QueueSpec(name, term) for name, term in terms.items()),
        QueueSpec("formula", objective_formula(spec, units)),
    )
