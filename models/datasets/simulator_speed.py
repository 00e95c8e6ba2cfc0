"""Measure how many true list values a second the simulator computes on one core.

    python -m models.datasets.simulator_speed

Lists of 10 of 20 candidates, one request at a time, in the declared world. CPU time of the thread is counted, so that
other work on the machine changes the figure less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np

from models.datasets.declared_world import LENGTH, declared_world
from models.datasets.simulator import Simulator


def values_per_second(lists: int, requests: int, length: int = LENGTH) -> list[float]:
    """Measure the rate for each of several requests, with `lists` random lists each."""
    simulator = Simulator(declared_world())
    rates = []
    for index in range(requests):
        request = simulator.request(0, index)
        draws = np.random.default_rng(index).random((lists, len(request.items)))
        orders = np.argsort(draws, axis=1)[:, :length]
        start = time.thread_time()
        simulator.list_value(request, orders)
        rates.append(lists / (time.thread_time() - start))
    return rates


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the median rate and the middle half of the rates."""
    parser = argparse.ArgumentParser(prog="python -m models.datasets.simulator_speed", description=__doc__)
    parser.add_argument("--lists", type=int, default=2000, help="lists of a request, valued at once")
    parser.add_argument("--requests", type=int, default=200, help="requests, timed one by one")
    chosen = parser.parse_args(arguments)
    if min(chosen.lists, chosen.requests) < 1:
        parser.error("--lists and --requests must be at least 1")
    rates = values_per_second(chosen.lists, max(chosen.requests, 2))
    low, middle, high = statistics.quantiles(rates, n=4)
    print(f"{middle:,.0f} list values a second (middle half of the requests: {low:,.0f} to {high:,.0f})")


if __name__ == "__main__":
    main()
