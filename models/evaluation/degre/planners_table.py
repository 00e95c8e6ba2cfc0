"""List every planner of the tables with the valuer that it searches and its recipe.

`planner_steps` runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from models.evaluation.degre.judges import EVALUATOR
from models.evaluation.degre.profile import Profile
from models.evaluation.degre.value_accuracy import VALUE_ROWS as GRID_MODELS
from models.mining.miner import LocalSearch
from models.training.distill import DistillOptions

RowFamily = Literal["reference", "search", "baseline", "degre", "ablation", "sweep", "grid"]

_LOCAL_SEARCHES: Final[Mapping[LocalSearch, tuple[str, str]]] = {
    "none": ("", ""),
    "best": ("-local-search", " + local search"),
    "all": ("-local-search-all", " + local search from all lists"),
}
"""How a local search is named in steps and in titles."""


@dataclass(frozen=True, slots=True)
class Search:
    """Describe a search of a value model.

    ``sort`` orders candidates by the value of each alone at the head of a list; ``queues`` is SORT-Gen's planner with
    its default queues; ``beam`` is a beam of `width` over all candidates, with a local search of its lists.
    """

    method: Literal["sort", "queues", "beam"] = "beam"
    width: int = 1
    local_search: LocalSearch = "none"

    @property
    def title(self) -> str:
        """Return its name in tables."""
        if self.method != "beam":
            return self.method
        beam = "greedy" if self.width == 1 else f"beam {self.width}"
        return beam + _LOCAL_SEARCHES[self.local_search][1]


@dataclass(frozen=True, slots=True)
class Mining:
    """Describe sequences to mine by beam search, with or without local search."""

    beam: int
    local_search: LocalSearch = "none"
    model: str = EVALUATOR

    @property
    def name(self) -> str:
        """Return the name of its step."""
        search = f"b{self.beam}{_LOCAL_SEARCHES[self.local_search][0]}"
        return search if self.model == EVALUATOR else f"{self.model}-{search}"

    @property
    def title(self) -> str:
        """Return its name in tables."""
        return f"B={self.beam}{_LOCAL_SEARCHES[self.local_search][1]}"


@dataclass(frozen=True, slots=True)
class DistillRecipe:
    """Describe the distillation of a generator; without `mining` it learns from the exposed lists alone."""

    mining: Mining | None
    slates: int
    temperature: float
    distill: DistillOptions


@dataclass(frozen=True, slots=True)
class PlannerRow:
    """Describe a planner of the tables.

    `searches` names the valuer that it maximises on the test requests, by its `search`. Under a judge with that member
    such a planner is a ceiling and no competitor. `recipe` is a distilled generator's, `baseline` a baseline
    generator's name in `models.baselines`.
    """

    name: str
    title: str
    family: RowFamily
    searches: str | None = None
    search: Search | None = None
    recipe: DistillRecipe | None = None
    baseline: str | None = None


PRIOR: Final = PlannerRow("prior", "sort by prior score", "reference")
RANDOM: Final = PlannerRow("random", "random list", "reference")
GREEDY: Final = PlannerRow("greedy", "evaluator, greedy", "search", EVALUATOR, Search())
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
    return RANDOM, PRIOR, GREEDY, beamed(profile), *(_beam(profile, kind) for kind in profile.local_searches)


def beamed(profile: Profile) -> PlannerRow:
    """Return the beam search of the evaluator on the test requests themselves."""
    return _beam(profile, "none")


def distilled(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return DeGRe's generators of the main table, the longest mining first."""
    kinds = tuple(reversed(profile.local_searches))
    minings = [*(Mining(profile.beam, kind) for kind in kinds), Mining(profile.beam)]
    minings += [Mining(1, profile.local_searches[0]), Mining(1)]
    return tuple(_distilled(profile, mining, profile.mining_slates) for mining in dict.fromkeys(minings))


def larger(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return the row that learns from more requests, if the profile wants it.

    Its mining is the first of `distilled`.
    """
    if not profile.more_slates:
        return ()
    row = _distilled(profile, Mining(profile.beam, profile.local_searches[-1]), profile.more_slates)
    return (replace(row, name=f"{row.name}-more", title=f"{row.title}, {profile.more_slates:,} requests"),)


def mixed(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return the rows of tables for objectives other than the first mix."""
    return (*searches(profile), GOALRANK, *reversed(distilled(profile)))


def main_planners(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return the rows of the main table."""
    return (*searches(profile), EXHAUSTIVE, *BASELINES, *reversed(distilled(profile)), *larger(profile))


def ablations(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return Table 4's rows; the first is the one that the others are compared with."""
    alpha, mining = profile.alpha, Mining(profile.ablation_beam)
    improved = replace(mining, local_search=profile.local_searches[0])
    settings: dict[str, tuple[str, Mining | None, DistillOptions]] = {
        "full": (f"DeGRe (B={profile.ablation_beam})", mining, DistillOptions(alpha=alpha)),
        "local-search": (f"DeGRe ({improved.title})", improved, DistillOptions(alpha=alpha)),
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


@dataclass(frozen=True, slots=True)
class GridRow:
    """Place a planner in the grid, by titles of value model and planner."""

    model: str
    planner: str
    row: PlannerRow


def grid(profile: Profile) -> tuple[GridRow, ...]:
    """Return every value model under every planner: sort, queues, beam, local search, DeGRe's pointer.

    The evaluator's searches are those of the main table. The pointers learn from `grid_slates` requests, each from
    what its own value model finds.
    """
    found = []
    for model, title in GRID_MODELS.items():
        for search in (
            Search("sort"),
            Search("queues"),
            *(_search(profile, kind) for kind in ("none", _best(profile))),
        ):
            found.append(GridRow(title, search.title, _searching(profile, model, title, search)))
        mining = Mining(profile.beam, _best(profile), model)
        recipe = DistillRecipe(mining, profile.grid_slates, profile.temperature, DistillOptions(alpha=profile.alpha))
        name, planner = f"grid-{model}-pointer", f"pointer, {mining.title}"
        found.append(GridRow(title, planner, PlannerRow(name, f"{title}: {planner}", "grid", recipe=recipe)))
    return tuple(found)


def _best(profile: Profile) -> LocalSearch:
    return profile.local_searches[0]


def _search(profile: Profile, kind: LocalSearch) -> Search:
    return Search(width=profile.beam, local_search=kind)


def _beam(profile: Profile, kind: LocalSearch) -> PlannerRow:
    search = _search(profile, kind)
    return PlannerRow(f"beam{_LOCAL_SEARCHES[kind][0]}", f"evaluator, {search.title}", "search", EVALUATOR, search)


def _searching(profile: Profile, model: str, title: str, search: Search) -> PlannerRow:
    if model == EVALUATOR and search.method == "beam":
        return _beam(profile, search.local_search)
    kind = search.method + _LOCAL_SEARCHES[search.local_search][0]
    return PlannerRow(f"grid-{model}-{kind}", f"{title}: {search.title}", "grid", model, search)


def _distilled(profile: Profile, mining: Mining, slates: int) -> PlannerRow:
    recipe = DistillRecipe(mining, slates, profile.temperature, DistillOptions(alpha=profile.alpha))
    return PlannerRow(f"degre-{mining.name}", f"DeGRe {mining.title}", "degre", recipe=recipe)


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


def learnt(profile: Profile) -> tuple[PlannerRow, ...]:
    """Return every planner that is distilled under the first mix."""
    pointers = (entry.row for entry in grid(profile) if entry.row.recipe is not None)
    return (*distilled(profile), *larger(profile), *ablations(profile), *pointers, *sweep_planners(profile))


def slates_needed(profile: Profile, mining: Mining, mix: int) -> int:
    """Return the most slates that a recipe under the mix takes of a mining."""
    everyone = mixed(profile) if mix else learnt(profile)
    return max(p.recipe.slates for p in everyone if p.recipe is not None and p.recipe.mining == mining)


def _sweep_point(profile: Profile, beam: int, alpha: float, temperature: float) -> PlannerRow:
    recipe = DistillRecipe(Mining(beam), profile.sweep_slates, temperature, DistillOptions(alpha=alpha))
    title = f"B={beam}, α={alpha:g}, τ_w={temperature:g}"
    return PlannerRow(f"sweep-b{beam}-a{alpha:g}-t{temperature:g}", title, "sweep", recipe=recipe)
