"""Count what is written, and say it on the terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.datasets.csv_log.lists import PartLists


@dataclass(slots=True)
class Tally:
    """Count lists, candidates and outcomes, part by part."""

    splits: Counter[str] = field(default_factory=Counter)
    candidates: int = 0
    exposed: int = 0
    longest: int = 0
    clicks: int = 0
    purchases: int | None = None
    gmv: float | None = None
    gaps: int = 0
    gmv_unknown: int = 0

    def add(self, part: PartLists) -> None:
        """Count the lists of one part."""
        table, outcomes = part.table, part.outcomes
        self.splits.update({pair["values"]: pair["counts"] for pair in pc.value_counts(table["split"]).to_pylist()})
        self.candidates += len(outcomes.shown)
        self.exposed += int(outcomes.shown.sum())
        self.longest = max(self.longest, pc.max(pc.list_value_length(table["exposed"])).as_py())
        self.clicks += int(outcomes.clicks.sum())
        if outcomes.purchases is not None:
            self.purchases = (self.purchases or 0) + int(outcomes.purchases.sum())
        if outcomes.gmv is not None:
            self.gmv = (self.gmv or 0.0) + float(np.nansum(outcomes.gmv))
            self.gmv_unknown += _nulls(table["gmv"])
        self.gaps += part.gaps

    def text(self) -> str:
        """Format the counts in two lines."""
        lists = self.splits.total()
        splits = ", ".join(f"{self.splits[s]} {s}" for s in ("train", "valid", "test"))
        bought = "purchases not recorded" if self.purchases is None else f"{self.purchases / lists:.3f} purchases"
        earned = "GMV not recorded" if self.gmv is None else f"GMV {self.gmv / lists:.2f}"
        return (
            f"{lists} lists ({splits})\n"
            f"per list: {self.candidates / lists:.1f} candidates, {self.exposed / lists:.1f} exposed "
            f"(longest {self.longest}), {self.clicks / lists:.3f} clicks, {bought}, {earned}"
        )

    def warnings(self) -> list[str]:
        """Name what the log's own counts suggest is wrong."""
        lists = self.splits.total()
        found = []
        if self.gaps:
            found.append(f"in {self.gaps} of {lists} lists the positions leave one out: a row may be missing")
        if self.gmv_unknown:
            found.append(
                f"in {self.gmv_unknown} of {lists} lists a bought item has no price: their GMV is not recorded"
            )
        empty = [split for split in ("train", "valid", "test") if not self.splits[split]]
        if empty:
            found.append(f"no list is {' or '.join(empty)}")
        return found


def _nulls(column: pa.ChunkedArray) -> int:
    return int(column.null_count)
