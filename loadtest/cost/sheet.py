"""Tabulate the engine's lists per second by a model's width and a list's length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest.rig.subject import markdown

BATCHES: Final = "1,8,64"
SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Size:
    """One model with random weights: width `dim`, lists of `length`."""

    dim: int
    length: int

    @property
    def name(self) -> str:
        """Return the size in words."""
        return f"d = {self.dim}, L = {self.length}"

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options of `export.bench.bundle`."""
        return ("--dim", str(self.dim), "--list-length", str(self.length), "--no-rules", "--requests", "25")

    def root(self, folder: Path) -> Path:
        """Return the root of its bundle under `folder`."""
        return folder / f"sheet-d{self.dim}-l{self.length}"


SIZES: Final = (
    *(Size(dim, 10) for dim in (32, 64, 128, 256)),
    *(Size(128, length) for length in (5, 20, 50)),
)


def sheet(reports: Mapping[Size, Mapping[str, Any]]) -> str:
    """Return a table of the reports of `service.engine_bench`."""
    head = ("d", "L", *(f"lists/s at batch {batch}" for batch in BATCHES.split(",")))
    rows = []
    for size, report in reports.items():
        rates = {str(row["batch"]): f"{row['rows_per_second']:.0f}" for row in report.get("rows", ())}
        rows.append((size.dim, size.length, *(rates.get(batch, "–") for batch in BATCHES.split(","))))
    return markdown(head, rows)
