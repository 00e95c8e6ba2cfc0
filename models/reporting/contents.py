"""Hold what a report shows, as plain data.

An experiment fills it in, `page.py` renders it. A run folder keeps its contents in ``report.json``, so that a report
needs neither the run's models nor PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

CONTENTS_FILE: Final = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number with its 95% interval.

    `text` replaces it where there is none ("not run", "failed").
    """

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of figures: its `title`, and how they are written.

    `form` is ``percent`` (of 1, with a sign), ``share`` (of 1), ``change`` (a number with a sign), ``number`` or
    ``text``; `digits` behind the point.
    """

    title: str
    form: str = "percent"
    digits: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table, with one figure per column.

    `name` is what files call it; rows of one `group` stand together under its title. `note` says what a reader must
    know, for example that it is a ceiling or what failed.
    """

    name: str
    title: str
    figures: Sequence[Figure]
    group: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of figures.

    `caption` says in plain English what is compared, on what data and with what intervals. Tables of one `section`
    stand together under its heading; a table whose name begins with that of a chart and a hyphen stands with the chart.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    section: str = "Tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a chart: y over x, with an optional band.

    `x` is numbers, or texts for categories; all lines of a chart have the same kind.
    """

    title: str
    x: Sequence[float | str]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart of lines, or of points where `points` (a front).

    Titles of axes name units. `kind`: ``sweep``, ``front``, ``learning``, ``calibration`` or ``positions`` (cumulative
    value by place). `finding` is one sentence on what it shows.
    """

    name: str
    title: str
    kind: str
    x_title: str
    y_title: str
    lines: Sequence[Line]
    points: bool = False
    log_x: bool = False
    finding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownItem:
    """An item of a shown list: attributes, queue (−1: none), true expected outcomes."""

    id: str
    attributes: Mapping[str, str]
    queue: int = -1
    click: float = 0.0
    conversion: float = 0.0
    gmv: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPair:
    """Two lists of one request: the base's and the planned one (SORT-Gen, Figure 2).

    `sides` are the headings of the two lists.
    """

    title: str
    user: Mapping[str, str]
    queues: Sequence[str]
    before: Sequence[ShownItem]
    after: Sequence[ShownItem]
    sides: tuple[str, str] = ("Before", "After")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target of the experiment: what was to be reached, what was, and whether."""

    text: str
    reached: str
    met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything that a report of one run shows.

    `setting` holds command, data, seeds, hardware, versions and sizes as texts; `failures` name the steps that failed
    and why, in one line each. In running text, what stands between backticks is code.
    """

    title: str
    kind: str
    summary: str
    setting: Mapping[str, str]
    targets: Sequence[Target] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    pairs: Sequence[ListPair] = ()
    failures: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write ``report.json`` into a run folder."""
        path = folder / CONTENTS_FILE
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)))

    @classmethod
    def read(cls, folder: Path) -> Contents:
        """Read a run folder's ``report.json``.

        Raises `ValueError` naming the file and what is wrong with it.
        """
        path = folder / CONTENTS_FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise ValueError(
                f"{folder}: has no {CONTENTS_FILE}; it is no run folder, or the run has no report"
            ) from None
        except msgspec.MsgspecError as error:
            raise ValueError(f"{path}: is no report: {error}") from None
