"""What all registered fits and methods must keep to, so that the tables compare like with like."""

from __future__ import annotations

import pytest

from models.evaluation.truth.method import TRIED, Method
from models.evaluation.truth.registry import FITS, METHODS, fits_behind
from models.evaluation.truth.steps import JUDGE

TUNED = [method for method in METHODS.values() if len(method.settings) > 1]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_plans_once_a_seed_where_a_fit_of_it_has_seeds(method: Method) -> None:
    judged = [JUDGE] if method in TUNED else []
    seeded = any(fit.seeded for fit in fits_behind(method.name, [*method.needs, *judged]))
    assert method.seeded == (seeded or method.name == "random")


@pytest.mark.parametrize("method", TUNED, ids=lambda method: method.name)
def test_every_method_with_a_setting_tries_as_many_values(method: Method) -> None:
    assert len(set(method.settings)) == TRIED


def test_only_the_ceilings_know_true_values() -> None:
    assert {method.name for method in METHODS.values() if method.cheating} == {
        method.name for method in METHODS.values() if method.group == "ceilings"
    }


def test_those_trained_by_a_reward_take_it_from_the_same_value_model() -> None:
    assert {name: FITS[name].needs for name in ("goalrank", "nar4rec", "gref", "nlgr")} == dict.fromkeys(
        ("goalrank", "nar4rec", "gref", "nlgr"), ("sort",)
    )
    assert {name: FITS[name].needs for name in ("degre", "degre-no-search")} == dict.fromkeys(
        ("degre", "degre-no-search"), ("degre-evaluator",)
    )


def test_clicks_are_learnt_without_any_value_model() -> None:
    assert all(not FITS[name].needs for name in ("ltr", "pointwise", "pareto", "prm", "fft"))
