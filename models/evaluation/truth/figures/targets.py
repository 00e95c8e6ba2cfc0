"""Compare what was reached with the experiment's targets, computed from the lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.evaluation.truth.figures import papers
from models.evaluation.truth.figures.results import NOT_RUN, PointResults, Results
from models.evaluation.truth.figures.rows import (
    BASE,
    MEASURES,
    OURS,
    SORT_GEN,
    SORT_GEN_BEAM,
    SORT_GEN_PAPER,
    TRUE_BEAM,
    TRUE_QUEUES,
    both,
    gains,
    of_groups,
    rivals_run,
    strongest_rival,
    title_of,
    value_gain,
    value_share,
)
from models.reporting.contents import Column, Target
from models.reporting.numbers import figure_text, gain_text

PLANNER_SHARE: Final = 0.70
CLOSED: Final = 0.60
_SHARE: Final = "Gain of SORT-Gen with its beam over the base, of what true values gain with"
_PAPER: Final = tuple(percent / 100 for percent in papers.SORT_GEN)
_OVER_RIVAL: Final = (0.04, 0.0, 0.08)
"""Least gains of clicks, purchases and GMV over the strongest rival."""


def targets(results: Results) -> list[Target]:
    """List the targets, each with what was reached.

    Those that were not run are neither met nor missed.
    """
    point = results.main
    wanted = ", ".join(f"+{least:.2%} {name}" for least, name in zip(_PAPER, MEASURES, strict=False))
    return [
        _at_once(point, SORT_GEN_BEAM, BASE, _PAPER, f"SORT-Gen with its beam over the base, all at once: {wanted}"),
        _at_once(point, SORT_GEN, BASE, _PAPER, "SORT-Gen without its beam over the base: the same"),
        _over_rival(point),
        _share(point, TRUE_QUEUES, PLANNER_SHARE, f"{_SHARE} the same search"),
        _share(point, TRUE_BEAM, CLOSED, f"{_SHARE} a beam search of all candidates"),
        _without_context(results),
    ]


def _at_once(point: PointResults, ours: str, theirs: str, least: Sequence[float], text: str) -> Target:
    found = both(point, ours, theirs)
    if found is None:
        return Target(text=text, reached=NOT_RUN, met=None)
    figures = gains(*found, point.preferences())
    reached = ", ".join(f"{name} {gain_text(figure)}" for figure, name in zip(figures, MEASURES, strict=True))
    met = all(figure.mean is not None and figure.mean >= bound for figure, bound in zip(figures, least, strict=False))
    return Target(text=text, reached=reached, met=met)


def _over_rival(point: PointResults) -> Target:
    text = "SORT-Gen with its beam over the strongest rival: at least +4% clicks and +8% GMV, purchases not lower"
    rival = strongest_rival(point)
    if rival is None:
        return Target(text=text, reached=NOT_RUN, met=None)
    told = " ".join([title_of(point, rival), *([among] if (among := rivals_run(point)) else [])])
    return _at_once(point, SORT_GEN_BEAM, rival, _OVER_RIVAL, f"{text} ({told})")


def _share(point: PointResults, whole: str, least: float, text: str) -> Target:
    text = f"{text}: at least {least:.0%}"
    if both(point, SORT_GEN_BEAM, whole) is None or both(point, SORT_GEN_BEAM, BASE) is None:
        return Target(text=text, reached=NOT_RUN, met=None)
    found = value_share(point, SORT_GEN_BEAM, whole)
    if found is None or found.mean is None:
        return Target(text=text, reached="the search with true values does not surely gain", met=None)
    reached = figure_text(found, Column(title="", form="share", digits=0))
    return Target(text=text, reached=reached, met=found.mean >= least)


def _without_context(results: Results) -> Target:
    """Look for methods of ours that lose where a sort is best.

    SORT-Gen as in the paper is there for comparison and does not count. The target is met once all others were run.
    """
    text = "At κ = 0, no method of ours below the base beyond noise"
    point = results.sweep("kappa").get(0.0)
    ours = [name for name in of_groups(results.main, OURS) if name != SORT_GEN_PAPER]
    found = {} if point is None else {name: value_gain(point, name, BASE) for name in ours}
    known = {name: figure for name, figure in found.items() if figure is not None}
    if point is None or not known:
        return Target(text=text, reached=NOT_RUN, met=None)
    reached = ", ".join(f"{title_of(point, name)} {gain_text(figure)}" for name, figure in known.items())
    if not all(figure.high is not None and figure.high >= 0 for figure in known.values()):
        return Target(text=text, reached=reached, met=False)
    if len(known) < len(ours):
        text = f"{text} (of the {len(known)} of {len(ours)} that were run)"
    return Target(text=text, reached=reached, met=True if len(known) == len(ours) else None)
