"""Hold the share of feasible lists that end early, and so need the fill, over queues dealt under rules."""

from __future__ import annotations

import pytest

from models.contract.rules.definition import Cap, Floor
from tests.models.contract.rules.greedy import Setting, early_ends

TWO_OF_A_BRAND = (Cap("brand", 2),)
NEW = (Floor("source", "new", 2, 10),)


@pytest.mark.long
@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(Setting(TWO_OF_A_BRAND), id="cap"),
        pytest.param(Setting(TWO_OF_A_BRAND, pins=2), id="pins"),
        pytest.param(Setting(TWO_OF_A_BRAND, floors=NEW), id="floor"),
        pytest.param(Setting(TWO_OF_A_BRAND, pins=2, floors=NEW), id="pins and floor"),
        pytest.param(Setting((Cap("brand", 2, 5),)), id="window"),
        # In one queue there are no more slots than places, so pins and floors beside a window leave no choice.
        pytest.param(Setting((Cap("brand", 2, 5), Cap("category", 4)), pins=1, floors=NEW, fewest_queues=2), id="all"),
    ],
)
def test_at_most_2_percent_of_feasible_lists_end_early(setting: Setting) -> None:
    early, feasible = early_ends(setting, cases=300, seed=14)
    assert feasible > 200
    assert early <= 0.02 * feasible
