"""Choose colour, marker and dash of each line of a chart.

A method looks alike in all charts of a run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from models.reporting.contents import Chart

COLORS: Final = 8
"""Colours, each with a marker of its own; lines beyond them take the same again with another dash."""

DASHES: Final[tuple[tuple[int, ...], ...]] = ((), (5, 2), (1, 2), (6, 2, 1, 2))
IDEAL: Final = "ideal"


@dataclass(frozen=True, slots=True)
class LineStyle:
    """A line's title, colour and dash by number.

    The colour's number is the marker's too; −1 is no colour of a line and no marker.
    """

    title: str
    color: int
    dash: int


class Styles:
    """Keep the colours of lines by their titles."""

    def __init__(self) -> None:
        self._colors: dict[str, int] = {}

    def of(self, chart: Chart) -> list[LineStyle]:
        """Return the styles of a chart's lines; a calibration has an ideal line too.

        No two are alike, as long as there are enough: a colour that is taken gives way to the next free one.
        """
        taken: Counter[int] = Counter()
        styles = []
        for line in chart.lines:
            wanted = self._colors.setdefault(line.title, len(self._colors) % COLORS)
            least = min(taken[color] for color in range(COLORS))
            color = next(c for c in (wanted, *range(COLORS)) if taken[c] == least)
            styles.append(LineStyle(line.title, color, least % len(DASHES)))
            taken[color] += 1
        return [*styles, LineStyle(IDEAL, -1, 1)] if chart.kind == "calibration" else styles
