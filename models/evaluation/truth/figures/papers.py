"""Hold the figures that the SORT-Gen paper published of its online tests, in percent.

They are shown beside ours as they stand in the paper's Tables 1 and 2; they were measured on other traffic.
"""

from __future__ import annotations

from typing import Final

Published = tuple[float, float, float]
"""Relative improvements of clicks, orders and GMV."""

TABLE_1: Final[dict[str, Published]] = {
    "ltr": (-0.06, 2.07, 0.60),
    "pareto": (-0.19, -0.16, 3.47),
    "fast-dpp": (3.28, 2.27, 0.88),
    "prm": (2.63, 2.21, 0.17),
    "fft": (3.43, 4.56, 2.48),
    "fft-dpp": (5.26, 8.31, 5.15),
    "sort-gen-paper": (9.61, 8.35, 13.67),
}
"""Over greedy selection by the formula."""

TABLE_2: Final[dict[str, Published]] = {
    "template": (10.39, -0.30, 2.85),
    "ranking-top": (8.30, 1.81, 2.15),
    "pointwise-loss": (5.06, 1.60, 5.11),
    "esmm-loss": (8.38, 2.34, 2.34),
    "without-mmr": (3.82, -0.84, 4.28),
}
"""Of the complete SORT-Gen over one without a part, by the name of that row."""

SORT_GEN: Final = TABLE_1["sort-gen-paper"]
