"""List every planner of the tables with the valuer that it searches and its recipe.

`planner_steps` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from models.evaluation.degre.judges import EVALUATOR
from models.evaluation.degre.profile import Profile
from models.training.distill import DistillOptions

RowFamily = Literal["reference", "search", "baseline", "degre", "ablation", "sweep"]


@dataclass(frozen=True, slots=True)
class Mining:
    """Describe sequences to mine by beam search of a width, with or without local search."""

    beam: int
    local_search: bool = False

    @property
    def name(self) -> str:
        """Return the name of its step."""
        return f"b{self.beam}-local-search" if self.local_search else f"b{self.beam}"


@dataclass(frozen=True, slots=True)
class DistillRecipe:
    """Describe the distillation of a generator; without `mining` it learns from the exposed lists alone."""

    mining: Mining | None
    slates: int
    temperature: float
    distill: DistillOptions


@dataclass(frozen=True, slots=True)
class PlannerRow:
    """Describe a planner; `searches` names the valuer that it maximises on the test requests.

    Under a judge with that member such a planner is a ceiling and no competitor. `recipe` is a distilled generator's,
    `baseline` a baseline generator's name in `models.baselines`.
    """

    name: str
    title: str
    family: RowFamily
    searches: str | None = None
    recipe: DistillRecipe | None = None
    baseline: str | None = None


PRIOR: Final = PlannerRow("prior", "sort by prior score", "reference")
RANDOM: Final = PlannerRow("random", "random list", "reference")
GREEDY: Final = PlannerRow("greedy", "evaluator, greedy", "search", EVALUATOR)
EXHAUSTIVE: Final = PlannerRow("exhaustive", "evaluator, exhaustive", "search", EVALUATOR)
GOALRANK: Final = PlannerRow("goalrank", "GoalRank", "baseline", baseline="goalrank")
BASELINES: Final = (
    PlannerRow("nar4rec", "NAR4Rec", "baseline", baseline="nar4rec"),
    PlannerRow("gref", "GReF", "baseline", baseline="gref"),
    PlannerRow("nlgr", "NLGR-G", "baseline", baseline="nlgr"),
    GOALRANK,
    PlannerRow("prm", "PRM", "baseline", baseline="prm"),
)


def searches(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return the planners that need no training of their own, but for the exhaustive search."""
    beam = beamed(profile)
    improved = PlannerRow("beam-local-search", f"{beam.title} + local search", "search", EVALUATOR)
    return RANDOM, PRIOR, GREEDY, beam, improved


def beamed(profile: Profile) -> PlannerRow:
    """Return the beam search of the evaluator on the test requests themselves."""
    return PlannerRow("beam", f"evaluator, beam {profile.beam}", "search", EVALUATOR)


def distilled(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return DeGRe's generators of the main table, the best first."""
    b, distill = profile.beam, DistillOptions(alpha=profile.alpha)
    rows = []
    for mining in dict.fromkeys((Mining(b, True), Mining(b), Mining(1))):
        recipe = DistillRecipe(mining, profile.mining_slates, profile.temperature, distill)
        title = f"DeGRe B={mining.beam}" + " + local search" * mining.local_search
        rows.append(PlannerRow(f"degre-{mining.name}", title, "degre", recipe=recipe))
    return tuple(rows)


def mixed(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return the rows of tables for objectives other than the first mix."""
    return (*searches(profile), GOALRANK, *reversed(distilled(profile)))


def main_planners(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return the rows of the main table."""
    return (*searches(profile), EXHAUSTIVE, *BASELINES, *reversed(distilled(profile)))


def ablations(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return Table 4's rows."""
    alpha, mining = profile.alpha, Mining(profile.ablation_beam)
    settings: dict[str, tuple[str, Mining | None, DistillOptions]] = {
        "full": (f"DeGRe (B={profile.ablation_beam})", mining, DistillOptions(alpha=alpha)),
        "no-soft": ("without soft label", mining, DistillOptions(alpha=0.0)),
        "no-weighting": ("without sequence weighting", mining, DistillOptions(alpha=alpha, weighting=False)),
        "no-hard": ("without hard label", mining, DistillOptions(alpha=alpha, hard=False)),
        "exposure": ("exposure only", None, DistillOptions(alpha=0.0)),
    }
    rows = []
    for name, (title, mined, distill) in settings.items():
        recipe = DistillRecipe(mined, profile.ablation_slates, profile.temperature, distill)
        rows.append(PlannerRow(f"ablation-{name}", title, "ablation", recipe=recipe))
    return tuple(rows)


def sweeps(profile: Profile) -> dict[str, dict[float, PlannerRow]]:
    """Return Figure 4's sweeps: planners by value of B, α and τ_w around the defaults."""
    b, a, t = profile.beam, profile.alpha, profile.temperature
    return {
        "B": {float(x): _sweep_point(profile, x, a, t) for x in profile.sweep_beams},
        "α": {x: _sweep_point(profile, b, x, t) for x in profile.sweep_alphas},
        "τ_w": {x: _sweep_point(profile, b, a, x) for x in profile.sweep_temperatures},
    }


def sweep_planners(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return all different planners of `sweeps`."""
    return tuple(dict.fromkeys(p for points in sweeps(profile).values() for p in points.values()))


def slates_needed(profile: Profile, mining: Mining, mix: int) -> int:
    """Return the most slates that a recipe under the mix takes of a mining."""
    everyone = mixed(profile) if mix else (*distilled(profile), *ablations(profile), *sweep_planners(profile))
    return max(p.recipe.slates for p in everyone if p.recipe is not None and p.recipe.mining == mining)


def _sweep_point(profile: Profile, beam: int, alpha: float, temperature: float) -> PlannerRow:
    recipe = DistillRecipe(Mining(beam), profile.sweep_slates, temperature, DistillOptions(alpha=alpha))
    title = f"B={beam}, α={alpha:g}, τ_w={temperature:g}"
    return PlannerRow(f"sweep-b{beam}-a{alpha:g}-t{temperature:g}", title, "sweep", recipe=recipe)
