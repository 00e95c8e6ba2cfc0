"""Train the value models of the ablations, each without one part.

Those of SORT-Gen's Table 2 replace the ordered regression of the paper's own model (``sort-paper``): same network, no
prior within, no list-context features. Those of ours leave one part of the default (``sort``) out.
"""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.fits.value_models import ValueRecipe, value_fit
from models.evaluation.truth.method import Fit
from models.nets.value import ValueConfig

POINTWISE_LOSS: Final = "variant-pointwise-loss"
ESMM: Final = "variant-esmm"
NO_SKIP: Final = "variant-no-skip"
NO_GATE: Final = "variant-no-gate"
ORDERED_LOSS: Final = "variant-ordered-loss"
NO_CONTEXT: Final = "variant-no-context"
NO_AFFINITY: Final = "variant-no-affinity"
STATES_1: Final = "variant-states-1"
STATES_2: Final = "variant-states-2"
STATES_ALL: Final = "variant-states-all"

_LONGEST: Final = 1_000
"""More than any list has places; `ValueConfig` cuts states to the list's length, so all counts are told apart."""

FITS: Final[tuple[Fit, ...]] = (
    # One probability per place and objective, each learnt by its own cross-entropy.
    value_fit(POINTWISE_LOSS, ValueRecipe(config=ValueConfig(head="pointwise"))),
    # pCTR and pCTCVR = pCTR · pCVR per place, learnt together.
    value_fit(ESMM, ValueRecipe(config=ValueConfig(head="entire-space"))),
    value_fit(NO_SKIP, ValueRecipe(choice={"skip": False})),
    value_fit(NO_GATE, ValueRecipe(choice={"gate": False})),
    value_fit(ORDERED_LOSS, ValueRecipe(choice={"loss": "ordered"})),
    value_fit(NO_CONTEXT, ValueRecipe(config=ValueConfig(context="none"))),
    value_fit(NO_AFFINITY, ValueRecipe(config=ValueConfig(affinity=0))),
    value_fit(STATES_1, ValueRecipe(config=ValueConfig(states=1))),
    value_fit(STATES_2, ValueRecipe(config=ValueConfig(states=2))),
    value_fit(STATES_ALL, ValueRecipe(config=ValueConfig(list_length=_LONGEST, states=_LONGEST))),
)
