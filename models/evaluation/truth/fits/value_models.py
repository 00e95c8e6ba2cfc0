"""Train list value models: SORT, SORT as in the paper, DeGRe's evaluator, and the judge.

All are trained as by `listwright train`, with the sizes and epochs of the profile, and choose on the validation lists:
those are what settings are chosen on too, so no model may learn from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from models.evaluation.truth.method import Fit, FitContext
from models.evaluation.truth.profile import Profile
from models.nets.value import ValueConfig
from models.training.defaults import EVALUATOR, EVALUATOR_OPTIONS, SORT_GEN_OPTIONS
from models.training.loop import TrainOptions, has_begun
from models.training.value import train_value_model
from models.training.value_choice import ValueOptions

JUDGE: Final = "judge"
SORT: Final = "sort"
SORT_PAPER: Final = "sort-paper"
DEGRE_EVALUATOR: Final = "degre-evaluator"
DEGRE_EVALUATOR_PAPER: Final = "degre-evaluator-paper"

_JUDGE_SEED: Final = 1000
"""What is added to the judge's seed, so that it shares no seed with a model that it judges."""


@dataclass(frozen=True)
class ValueRecipe:
    """Say how a value model is trained, but for its sizes, which are the profile's.

    `choice` changes fields of `ValueOptions`. `apart` is added to the seed.
    """

    family: str = "sort-gen"
    config: ValueConfig = field(default_factory=ValueConfig)
    training: TrainOptions = SORT_GEN_OPTIONS
    choice: Mapping[str, Any] = field(default_factory=dict)
    apart: int = 0

    def sized(self, profile: Profile) -> ValueConfig:
        """Return the configuration in a profile's sizes."""
        dim, layers, _ = self._sizes(profile)
        return replace(self.config, dim=dim, layers=layers, list_length=profile.world.length)

    def trained(self, profile: Profile, seed: int = 0) -> TrainOptions:
        """Return the options of training under a profile."""
        return replace(self.training, epochs=self._sizes(profile)[2], seed=self.apart + seed)

    def chosen(self, profile: Profile) -> ValueOptions:
        """Return the options of choosing epoch and shares."""
        return ValueOptions(folds=0, mix=profile.objectives, **self.choice)

    def _sizes(self, profile: Profile) -> tuple[int, int, int]:
        """Return width, layers and epochs, which differ for hazards and for the papers' heads."""
        if self.config.head == "hazard":
            return profile.value_dim, profile.value_layers, profile.value_epochs
        return profile.paper_dim, profile.paper_layers, profile.paper_epochs

    def options(self, profile: Profile) -> Mapping[str, Any]:
        """Return as plain JSON what the result depends on beside world and seed."""
        parts = (self.sized(profile), self.trained(profile), self.chosen(profile))
        return {name: value for part in parts for name, value in asdict(part).items()}

    def run(self, context: FitContext) -> Mapping[str, Any]:
        """Train the model, or go on with it, in the fit's folder."""
        checkpoint = train_value_model(
            context.bench.file,
            context.folder,
            family=self.family,
            config=self.sized(context.profile),
            options=self.trained(context.profile, context.seed),
            device=context.bench.device,
            value_options=self.chosen(context.profile),
            resume=has_begun(context.folder),
        )
        told = checkpoint.provenance
        verdict = {name: told["verdict"][name] for name in ("outcome", "sentence")}
        return {"lists": told["lists"], "choice": told["choice"], "verdict": verdict, "metrics": told["metrics"]}


def value_fit(name: str, recipe: ValueRecipe, *, seeded: bool = True) -> Fit:
    """Make the fit of a value model."""
    return Fit(name, recipe.run, recipe.options, seeded=seeded)


_EVALUATOR: Final = ValueRecipe("degre-evaluator", EVALUATOR, EVALUATOR_OPTIONS)

FITS: Final[tuple[Fit, ...]] = (
    value_fit(SORT, ValueRecipe()),
    value_fit(SORT_PAPER, ValueRecipe(config=ValueConfig(head="independent"))),
    value_fit(JUDGE, ValueRecipe(apart=_JUDGE_SEED), seeded=False),
    value_fit(DEGRE_EVALUATOR, _EVALUATOR),
    value_fit(DEGRE_EVALUATOR_PAPER, replace(_EVALUATOR, config=replace(EVALUATOR, head="independent"))),
)
