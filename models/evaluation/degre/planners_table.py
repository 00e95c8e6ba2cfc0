"""Every planner of the tables: its name, what it searches, and for a learnt one, the recipe of its training.

Only names and recipes; `search_steps.py` and `generator_steps.py` run them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from models.evaluation.degre.judges import EVALUATOR
from models.evaluation.degre.profile import Profile
from models.training.distill import DistillOptions

Family = Literal["reference", "search", "baseline", "degre", "ablation", "sweep"]
LEARNT: Final = ("baseline", "degre")


@dataclass(frozen=True, slots=True)
class Mining:
    """Sequences to mine: by beam search of this width, then with local search or without."""

    beam: int
    local_search: bool = False

    @property
    def name(self) -> str:
        """The name of its step."""
        return f"b{self.beam}-local-search" if self.local_search else f"b{self.beam}"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a generator is distilled; `mining` None stands for the exposed lists and their hard labels alone."""

    mining: Mining | None
    slates: int
    temperature: float
    distill: DistillOptions


@dataclass(frozen=True, slots=True)
class Planner:
    """A row. `searches` names the valuer whose values it maximises on the test requests themselves, if any.

    Under a judge with that member such a planner is a ceiling and no competitor. `recipe` is a distilled generator's,
    `baseline` a baseline generator's name in `models.baselines`.
    """

    name: str
    title: str
    family: Family
    searches: str | None = None
    recipe: Recipe | None = None
    baseline: str | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """One setting varied: `points` map its values to planners."""

    symbol: str
    points: Mapping[float, Planner] = field(default_factory=dict)


PRIOR: Final = Planner("prior", "sort by prior score", "reference")
RANDOM: Final = Planner("random", "random list", "reference")
GREEDY: Final = Planner("greedy", "evaluator, greedy", "search", EVALUATOR)
EXHAUSTIVE: Final = Planner("exhaustive", "evaluator, exhaustive", "search", EVALUATOR)
BASELINES: Final = tuple(
    Planner(name, title, "baseline", baseline=name)
    for name, title in (
        ("nar4rec", "NAR4Rec"),
        ("gref", "GReF"),
        ("nlgr", "NLGR-G"),
        ("goalrank", "GoalRank"),
        ("prm", "PRM"),
    )
)


def searches(profile: Profile) -> tuple[Planner, ...]:
    """Planners that need no training of their own, and the exhaustive optimum under the evaluator."""
    beam = beamed(profile)
    return (
        RANDOM,
        PRIOR,
        GREEDY,
        beam,
        Planner("beam-local-search", f"{beam.title} + local search", "search", EVALUATOR),
    )


def beamed(profile: Profile) -> Planner:
    """The beam search of the evaluator on the test requests themselves."""
    return Planner("beam", f"evaluator, beam {profile.beam}", "search", EVALUATOR)


def distilled(profile: Profile) -> tuple[Planner, ...]:
    """DeGRe's generators of the main table, the best first."""
    b = profile.beam
    settings = {
        f"degre-b{b}-local-search": (f"DeGRe B={b} + local search", Mining(b, True)),
        f"degre-b{b}": (f"DeGRe B={b}", Mining(b)),
        "degre-b1": ("DeGRe B=1", Mining(1)),
    }
    return tuple(
        Planner(name, title, "degre", recipe=_recipe(profile, mining, profile.mining_slates))
        for name, (title, mining) in settings.items()
    )


def mixed(profile: Profile) -> tuple[Planner, ...]:
    """The rows of tables for objectives other than the first mix."""
    reward = tuple(planner for planner in BASELINES if planner.name == "goalrank")
    return (*searches(profile), *reward, *reversed(distilled(profile)))


def ablations(profile: Profile) -> tuple[Planner, ...]:
    """Table 4's rows."""
    alpha, mining = profile.alpha, Mining(profile.ablation_beam)
    settings: dict[str, tuple[str, Mining | None, DistillOptions]] = {
        "full": (f"DeGRe (B={profile.ablation_beam})", mining, DistillOptions(alpha=alpha)),
        "no-soft": ("without soft label", mining, DistillOptions(alpha=0.0)),
        "no-weighting": ("without sequence weighting", mining, DistillOptions(alpha=alpha, weighting=False)),
        "no-hard": ("without hard label", mining, DistillOptions(alpha=alpha, hard=False)),
        "exposure": ("exposure only", None, DistillOptions(alpha=0.0)),
    }
    return tuple(
        Planner(
            f"ablation-{name}",
            title,
            "ablation",
            recipe=Recipe(mined, profile.ablation_slates, profile.temperature, distill),
        )
        for name, (title, mined, distill) in settings.items()
    )


def sweeps(profile: Profile) -> tuple[Sweep, ...]:
    """Figure 4's: beam size, α and τ_w, each with the others at their defaults; they meet in one planner."""
    return (
        Sweep("B", {float(b): _sweep_point(profile, beam=b) for b in profile.sweep_beams}),
        Sweep("α", {a: _sweep_point(profile, alpha=a) for a in profile.sweep_alphas}),
        Sweep("τ_w", {t: _sweep_point(profile, temperature=t) for t in profile.sweep_temperatures}),
    )


def sweep_planners(profile: Profile) -> tuple[Planner, ...]:
    """All different planners of `sweeps`."""
    return tuple(dict.fromkeys(p for sweep in sweeps(profile) for p in sweep.points.values()))


def _sweep_point(
    profile: Profile, *, beam: int | None = None, alpha: float | None = None, temperature: float | None = None
) -> Planner:
    b = profile.beam if beam is None else beam
    a = profile.alpha if alpha is None else alpha
    t = profile.temperature if temperature is None else temperature
    recipe = Recipe(Mining(b), profile.sweep_slates, t, DistillOptions(alpha=a))
    return Planner(f"sweep-b{b}-a{a:g}-t{t:g}", f"B={b}, α={a:g}, τ_w={t:g}", "sweep", recipe=recipe)


def _recipe(profile: Profile, mining: Mining, slates: int) -> Recipe:
    return Recipe(mining, slates, profile.temperature, DistillOptions(alpha=profile.alpha))
