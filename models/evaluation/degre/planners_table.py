"""List every planner of the tables with the valuer that it searches and its recipe.

`planner_steps` runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Sweep:
    """Vary one setting: `points` maps its values to planners."""

    symbol: str
    points: Mapping[float, PlannerRow]


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
    settings = {
        f"degre-b{b}-local-search": (f"DeGRe B={b} + local search", Mining(b, True)),
        f"degre-b{b}": (f"DeGRe B={b}", Mining(b)),
        "degre-b1": ("DeGRe B=1", Mining(1)),
    }
    recipes = {
        name: DistillRecipe(m, profile.mining_slates, profile.temperature, distill) for name, (_, m) in settings.items()
    }
    return tuple(PlannerRow(name, title, "degre", recipe=recipes[name]) for name, (title, _) in settings.items())


def mixed(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return the rows of tables for objectives other than the first mix."""
    return (*searches(profile), GOALRANK, *reversed(distilled(profile)))


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


def sweeps(profile: Profile) -> tuple[Sweep, ...]:
    """Return Figure 4's sweeps of beam size, α and τ_w, each around the defaults."""
    b, a, t = profile.beam, profile.alpha, profile.temperature
    return (
        Sweep("B", {float(x): _sweep_point(profile, x, a, t) for x in profile.sweep_beams}),
        Sweep("α", {x: _sweep_point(profile, b, x, t) for x in profile.sweep_alphas}),
        Sweep("τ_w", {x: _sweep_point(profile, b, a, x) for x in profile.sweep_temperatures}),
    )


def sweep_planners(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return all different planners of `sweeps`."""
    return tuple(dict.fromkeys(p for sweep in sweeps(profile) for p in sweep.points.values()))


def _sweep_point(profile: Profile, beam: int, alpha: float, temperature: float) -> PlannerRow:
    recipe = DistillRecipe(Mining(beam), profile.sweep_slates, temperature, DistillOptions(alpha=alpha))
    title = f"B={beam}, α={alpha:g}, τ_w={temperature:g}"
    return PlannerRow(f"sweep-b{beam}-a{alpha:g}-t{temperature:g}", title, "sweep", recipe=recipe)
