"""The objective formula is the step value of prior scores, as far as there are any."""

from __future__ import annotations

import numpy as np
import pytest

from models.contract.formulas import Formula
from models.contract.manifest import QueueSpec
from models.contract.spec import FeatureSpec, Number
from models.planners.objective import default_queues, objective_formula, objective_terms
from models.planners.references.sort_gen import Preferences

CTR, CVR, PRICE = Number("ctr"), Number("cvr"), Number("price")
FULL = FeatureSpec(scores=(CVR, Number("relevance"), CTR), price=PRICE)
UNITS = {"click": 0.05, "conversion": 0.001, "gmv": 0.4}


def test_the_formula_is_what_the_scores_promise_in_units_and_weights() -> None:
    ctr, cvr, price = (np.array(x) for x in ([0.1, 0.3], [0.02, 0.01], [10.0, 99.0]))
    weights = (5.0, 1.0, 2.0)
    columns = {"ctr": ctr, "cvr": cvr, "price": price} | dict(
        zip(("alpha", "beta", "gamma"), (np.full(2, w) for w in weights), strict=True)
    )
    found = Formula(objective_formula(FULL, UNITS))(columns, 2)
    gains = np.stack([ctr, ctr * cvr, ctr * cvr * price], 1)
    expected = Preferences(weights, (0.05, 0.001, 0.4)).step_value(gains) * sum(weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "terms"),
    [
        (FULL, {"click": "ctr", "conversion": "ctr*cvr", "gmv": "ctr*cvr*price"}),
        (FeatureSpec(scores=(CTR, CVR)), {"click": "ctr", "conversion": "ctr*cvr"}),
        (FeatureSpec(scores=(CTR,), price=PRICE), {"click": "ctr"}),
    ],
)
def test_terms_and_queues_are_those_that_the_data_allows(spec: FeatureSpec, terms: dict[str, str]) -> None:
    assert objective_terms(spec) == terms
    queues = default_queues(spec, UNITS)
    assert [(q.name, q.score) for q in queues[:-1]] == list(terms.items())
    assert queues[-1] == QueueSpec("formula", objective_formula(spec, UNITS))


def test_very_small_units_still_make_a_formula() -> None:
    formula = Formula(objective_formula(FULL, {"click": 1e-9, "conversion": 3e-12, "gmv": 1e7}))
    assert formula.names == {"ctr", "cvr", "price", "alpha", "beta", "gamma"}


def test_data_without_a_click_score_needs_queues_of_its_own() -> None:
    with pytest.raises(ValueError, match="has no score 'ctr'"):
        default_queues(FeatureSpec(scores=(CVR,)), UNITS)
