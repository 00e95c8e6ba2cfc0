"""Draw charts as SVG with matplotlib.

Colours are CSS variables, so that one drawing serves light and dark pages.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from textwrap import wrap
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from models.reporting.contents import Chart, Line
from models.reporting.numbers import short
from models.reporting.styles import COLORS, DASHES, LineStyle
from models.reporting.svg import Marks, page_svg

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "h")
"""Markers by the number of a colour; the page's templates draw the same beside the lines' titles."""

_INK: Final = "#100001"
_SOFT: Final = "#100002"
_GRID: Final = "#100003"
_COLORS: Final = tuple(f"#10001{i}" for i in range(COLORS))
_VARIABLES: Final = {
    _INK: "var(--ink)",
    _SOFT: "var(--soft)",
    _GRID: "var(--line)",
    **{color: f"var(--series-{i})" for i, color in enumerate(_COLORS)},
}
"""Colours that matplotlib draws with, and the page's variables that take their place."""

_SIZE: Final = (5.7, 3.6)
"""Inches of 72 units: between half a wide page and a narrow one, so that text can be read on both."""

_STEPS: Final = (1, 2, 2.5, 5, 10)
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # Text stays text: small, and read by screen readers and searches.
    "svg.hashsalt": "listwright",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.labelpad": 5,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "lines.linewidth": 2,
    "lines.markersize": 6,
}


def draw(chart: Chart, styles: Sequence[LineStyle], prefix: str) -> str:
    """Draw a chart as an SVG element.

    `styles` are those of its lines, and its ids begin with `prefix`. The bytes depend on the arguments alone.
    """
    with mpl.rc_context():
        mpl.rcdefaults()  # A user's own settings must not change a report.
        mpl.rcParams.update(_STYLE)
        canvas = Canvas(figsize=_SIZE, dpi=72, layout="constrained")
        axes = canvas.subplots()
        places = _Places(chart)
        for i, line in enumerate(chart.lines):
            _draw_line(axes, line, places.of(line), styles[i], points=chart.points).set_gid(f"line-{i}")
        if chart.kind == "calibration":
            _draw_ideal(axes)
        places.label(axes)
        texts = {
            **_entitle(axes.xaxis, "x-title", chart.x_title, most=58),
            **_entitle(axes.yaxis, "y-title", chart.y_title, most=36),
            **places.texts,
        }
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.tick_params(length=0, pad=5)
        text = io.StringIO()
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    marks = [_marks(chart, line) for line in chart.lines]
    return page_svg(text.getvalue(), prefix, _VARIABLES, marks, (chart.title, describe(chart)), texts)


def describe(chart: Chart) -> str:
    """Say in a sentence what a chart shows, for those who do not see it."""
    lines = ", ".join(line.title for line in chart.lines) or "nothing"
    return f"{chart.y_title} against {chart.x_title}: {lines}. {chart.finding}".strip()


def _entitle(axis: Axis, name: str, title: str, most: int) -> dict[str, list[str]]:
    """Put a title at an axis, in lines of at most `most` letters.

    Return the lines by the id of their group.
    """
    lines = _wrapped(title, most)
    axis.set_label_text(_plain(lines)).set_gid(name)
    return {name: lines}


def _wrapped(text: str, most: int) -> list[str]:
    return wrap(text, max(most, 4)) or [""]


def _plain(lines: Sequence[str]) -> str:
    """Return lines as long as these of letters that matplotlib's font has."""
    return "\n".join("".join(c if c.isascii() else "x" for c in line) for line in lines)


class _Places:
    """Turn the x of a chart's lines to places on its axis."""

    def __init__(self, chart: Chart) -> None:
        every = [x for line in chart.lines for x in line.x]
        self.categories = list(dict.fromkeys(x for x in every if isinstance(x, str)))
        self._numbers = sorted({float(x) for x in every if not isinstance(x, str)})
        self._chart = chart
        self.texts: dict[str, list[str]] = {}

    def of(self, line: Line) -> Any:
        """Return the places [n] of a line's points."""
        return np.array([self.categories.index(x) if isinstance(x, str) else x for x in line.x], np.float64)

    def label(self, axes: Axes) -> None:
        """Put labels where there are points, as far as these are few and apart."""
        if self.categories:
            lines = [_wrapped(name, 60 // len(self.categories)) for name in self.categories]
            axes.set_xticks(range(len(lines)), [_plain(some) for some in lines])
            for i, label in enumerate(axes.get_xticklabels()):
                label.set_gid(f"category-{i}")
            self.texts = {f"category-{i}": some for i, some in enumerate(lines)}
            return
        if self._chart.log_x:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        if self._few_and_apart():
            axes.xaxis.set_major_locator(FixedLocator(self._numbers))
        elif not self._chart.log_x:
            axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))

    def _few_and_apart(self) -> bool:
        numbers = np.log(self._numbers) if self._chart.log_x else np.array(self._numbers)
        if not 1 <= len(numbers) <= 10 or self._chart.kind in ("front", "calibration"):
            return False
        return len(numbers) == 1 or bool(np.diff(numbers).min() > 0.07 * np.ptp(numbers))


def _draw_line(axes: Axes, line: Line, x: Any, style: LineStyle, *, points: bool) -> Line2D:
    color, size = _COLORS[style.color], {"linewidth": 1.2, "markersize": 8} if points else {}
    look: Any = {"color": color, "marker": MARKERS[style.color], "dashes": DASHES[style.dash], "zorder": 3, **size}
    (drawn,) = axes.plot(x, _array(line.y), **look)
    if line.low and points:
        axes.vlines(x, _array(line.low), _array(line.high), color=color, linewidth=1.4, alpha=0.6)
    elif line.low:
        axes.fill_between(x, _array(line.low), _array(line.high), color=color, alpha=0.16, linewidth=0)
    return drawn


def _draw_ideal(axes: Axes) -> None:
    """Draw the line of perfect calibration over the range of both axes."""
    low = min(axes.get_xlim()[0], axes.get_ylim()[0])
    high = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=_SOFT, dashes=DASHES[1], linewidth=1.5, zorder=2)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)


def _array(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _marks(chart: Chart, line: Line) -> Marks:
    """Say what each drawn point of a line is."""
    told = []
    for i, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        if y is None:
            continue
        at = x if isinstance(x, str) else short(x)
        low, high = (line.low[i], line.high[i]) if line.low else (None, None)
        band = "" if low is None or high is None else f" ({short(low)} to {short(high)})"
        told.append(f"{line.title}\n{chart.x_title}: {at}\n{chart.y_title}: {short(y)}{band}")
    return told
