"""Read times, as ISO dates and times or as numbers. Only their order matters."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.contract.arrays import Floats
from models.datasets.csv import cells
from models.datasets.csv.form import Decimal
from models.datasets.csv_log.parts import Rows


def parse_times(rows: Rows, column: str, *, numbers: Decimal | None) -> Floats:
    """Parse the times of all rows.

    They are numbers with the decimal point `numbers`, or ISO times if that is None. A time without a zone is taken as
    UTC. Raises `TableError` about the first cell that is empty or no time.
    """
    encoded = rows.text[column].dictionary_encode()
    words = encoded.dictionary
    values = cells.numbers(words, numbers) if numbers else _iso_times(words)
    times: Floats = values[encoded.indices.to_numpy()]
    if np.isnan(times).any():
        place = int(np.isnan(times).argmax())
        value = rows.text[column][place].as_py()
        say = f"must be a time such as 2024-05-31 17:00:00 or a number, not {value[:40]!r}" if value else "is empty"
        raise rows.error(place, column, say)
    return times


def _iso_times(words: pa.Array) -> Floats:
    """Parse different ISO times to microseconds since 1970; NaN for anything else."""
    try:
        stamps = pc.cast(words, pa.timestamp("us")).cast(pa.int64())
    except pa.ArrowInvalid:  # A zone, a form that Arrow does not know, or a cell that is no time.
        return np.array([_iso_time(word) for word in words.to_pylist()])
    times: Floats = stamps.to_numpy().astype(np.float64)
    return times


def _iso_time(word: str) -> float:
    try:
        time = datetime.fromisoformat(word.removesuffix(" UTC"))
    except ValueError:
        return np.nan
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1e6
