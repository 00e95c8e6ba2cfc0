"""Say in one plain sentence where list-level generation does not pay, from figures alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.reporting.contents import Figure
from models.reporting.numbers import gain_text


@dataclass(frozen=True)
class Contest:
    """Gain over the strongest cheap `rival` at one `value` of a knob."""

    value: float
    rival: str
    gain: Figure

    @property
    def pays(self) -> bool:
        """Tell whether the gain is above 0 beyond noise."""
        return self.gain.low is not None and self.gain.low > 0


def finding(title: str, contests: Sequence[Contest], unknown: Sequence[float] = ()) -> str:
    """Say where the gain over the strongest cheap sort is not surely positive.

    It also names values at which it is `unknown`. Empty without contests.
    """
    if not contests:
        return ""
    missing = f" It is not known at {_values(unknown)}." if unknown else ""
    return f"{_known(title, contests)}{missing}"


def _known(title: str, contests: Sequence[Contest]) -> str:
    losses = [contest for contest in contests if not contest.pays]
    name = f"{title[0].upper()}{title[1:]}"
    if not losses:
        least = min(contests, key=lambda contest: contest.gain.mean or 0.0)
        return (
            f"{name}: SORT-Gen with its beam gains over the strongest cheap sort at every value tried; its smallest "
            f"gain is {_at(least)}."
        )
    if len(losses) == len(contests):
        best = max(contests, key=lambda contest: contest.gain.mean or 0.0)
        return (
            f"{name}: SORT-Gen with its beam surely gains over the strongest cheap sort at no value tried; its "
            f"largest gain is {_at(best)}."
        )
    paying = [contest for contest in contests if contest.pays]
    most = max(paying, key=lambda contest: contest.gain.mean or 0.0)
    return (
        f"{name}: SORT-Gen with its beam does not surely gain over the strongest cheap sort at "
        f"{_values([c.value for c in losses])} ({'; '.join(map(_over, losses))}). "
        f"It does at {_values([c.value for c in paying])}, at most {_at(most)}."
    )


def _values(values: Sequence[float]) -> str:
    texts = [f"{value:,g}" for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _at(contest: Contest) -> str:
    return f"{_over(contest)} at {contest.value:,g}"


def _over(contest: Contest) -> str:
    return f"{gain_text(contest.gain, 1)} over {contest.rival}"
