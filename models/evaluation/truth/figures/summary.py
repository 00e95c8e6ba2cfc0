"""Say in a few sentences what the experiment found, and where."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.figures.results import PointResults, Results
from models.evaluation.truth.figures.rows import (
    BASE,
    MEASURES,
    SORT_GEN_BEAM,
    TRUE_BEAM,
    both,
    gains,
    rivals_run,
    strongest_rival,
    title_of,
    value_share,
)
from models.evaluation.truth.points import TRAIN_SHARE
from models.reporting.contents import Column
from models.reporting.numbers import mean_text

_GAIN: Final = Column(title="", digits=1)
_SHARE: Final = Column(title="", form="share", digits=0)


def summary(results: Results) -> str:
    """Say what SORT-Gen with its beam gains, then on what world and data."""
    return f"{answer(results.main)}\n\n{_world(results)}"


def answer(point: PointResults) -> str:
    """Say what SORT-Gen with its beam gains over the base and the strongest rival."""
    over_base = _gains(point, BASE)
    if over_base is None:
        return "SORT-Gen with its beam, or the base, was not run yet."
    told = f"{title_of(point, SORT_GEN_BEAM)} changes {over_base} against the base, the greedy sort by the formula"
    rival = strongest_rival(point)
    over_rival = None if rival is None else _gains(point, rival)
    if rival is not None and over_rival is not None:
        among = rivals_run(point)
        told += f"; {over_rival} against the strongest rival, {title_of(point, rival)}{f' ({among})' if among else ''}"
    closed = value_share(point, SORT_GEN_BEAM, TRUE_BEAM)
    if closed is not None and closed.mean is not None:
        told += (
            f". It closes {mean_text(closed.mean, _SHARE)} of the gap in list value between the base and a beam search "
            "that knows the true values"
        )
    return f"{told}."


def _gains(point: PointResults, theirs: str) -> str | None:
    """Write the gains in clicks, purchases and GMV over a method.

    None where they are not known.
    """
    found = both(point, SORT_GEN_BEAM, theirs)
    if found is None:
        return None
    figures = zip(MEASURES[:3], gains(*found, point.preferences())[:3], strict=True)
    known = [f"{name} by {mean_text(f.mean, _GAIN)}" for name, f in figures if f.mean is not None]
    return f"{', '.join(known[:-1])} and {known[-1]}" if len(known) == 3 else None


def _world(results: Results) -> str:
    world, profile = results.main.point.world, results.profile
    mix = ", ".join(f"{weight:g}" for weight in profile.objectives)
    return (
        f"Every method plans lists of {world.length} of {world.candidates} candidates for the same "
        f"{profile.requests:,} test requests of a declared world (context strength κ = {world.kappa:g}), and learns "
        f"from its {round(world.lists * TRAIN_SHARE):,} logged training lists, generators of lists from "
        f"{profile.generator_requests:,} of their requests. Objective weights α, β, γ are {mix}. "
        f"Lists are valued by the truth of the world, which only the ceilings know."
    )
