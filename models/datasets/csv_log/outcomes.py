"""Read what was shown and what came of it: clicks, purchases and GMV.

Axis letter: n rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.contract.arrays import Bools, Floats
from models.datasets.csv import cells
from models.datasets.csv_log.parts import Rows
from models.datasets.csv_log.values import Reading, finite, flags


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Hold what happened along n rows: what was shown, and clicks, purchases and GMV there.

    `purchases` and `gmv` are None where not recorded; GMV is NaN where a bought item has no price.
    """

    shown: Bools
    clicks: Bools
    purchases: Bools | None
    gmv: Floats | None


def read_positions(rows: Rows, reading: Reading) -> Floats:
    """Return each row's position, NaN where it was not shown, [n].

    Without clicks nothing counts as shown, since what was shown has outcomes; without positions everything does, in the
    log's order. Raises `TableError`.
    """
    column = reading.column("position")
    if reading.column("click") is None:
        return np.full(len(rows), np.nan)
    if column is None:
        return np.arange(len(rows), dtype=np.float64)
    values = cells.whole_numbers(rows.text[column])
    if (values == cells.INVALID).any():
        place = int((values == cells.INVALID).argmax())
        value = rows.text[column][place].as_py()
        say = "must be a whole number of at least 0, or empty where the item was not shown"
        raise rows.error(place, column, f"{say}, not {value[:40]!r}{cells.missing_hint(value)}")
    return np.where(values == cells.EMPTY, np.nan, values)


def read_outcomes(rows: Rows, reading: Reading, shown: Bools, price: Floats | None) -> Outcomes:
    """Read the outcomes of rows.

    Without a column of its own, GMV is the price of what was bought. Raises `TableError`.
    """
    click, purchase, gmv = (reading.column(role) for role in ("click", "purchase", "gmv"))
    clicks = np.zeros(len(rows), bool) if click is None else flags(rows, click, shown)
    if click is None:
        return Outcomes(shown, clicks, None, None)
    purchases = None if purchase is None else flags(rows, purchase, shown)
    if gmv is not None:
        return Outcomes(shown, clicks, purchases, _written_gmv(rows, gmv, reading, shown, purchases))
    if purchases is None or price is None:
        return Outcomes(shown, clicks, purchases, None)
    return Outcomes(shown, clicks, purchases, np.where(purchases, price, 0.0))


def _written_gmv(rows: Rows, column: str, reading: Reading, shown: Bools, purchases: Bools | None) -> Floats:
    """Read GMV, where an empty cell is 0 unless the item was bought."""
    values = finite(rows, column, reading.decimal, least=0.0)
    missing = np.isnan(values)
    if purchases is not None and (missing & purchases).any():
        raise rows.error(int((missing & purchases).argmax()), column, "is empty, but the item was bought")
    wrong = ~shown & (values > 0)
    if wrong.any():
        place = int(wrong.argmax())
        value = rows.text[column][place].as_py()
        raise rows.error(place, column, f"is {value}, but the item was not shown: its position is empty")
    return np.where(missing, 0.0, values)
