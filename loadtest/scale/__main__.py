"""Print machines for a demand, from measured figures.

A plan is as good as its figures: `sources` names where each was measured, and docs/scale.md says which are guesses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields

from loadtest.scale.demand import Demand, DemandError, option
from loadtest.scale.tables import TABLES

_HELP = {
    "requests_per_second": "requests/s at the peak, of 100 candidates each",
    "items": "items of the catalogue",
    "lists_per_month": "lists that are logged in 30 days",
    "utilisation": "share of a host's rate that is used while a zone is gone",
    "zones": "zones, of which one may be gone",
    "cores_per_gpu": "cores of a host with one GPU, and of one without",
    "host_gbit": "network of a host in Gbit/s",
    "worker_hand_over_us": "CPU time in µs that a hand-over takes of an HTTP worker, beyond that to its own thread",
    "engine_hand_over_us": "CPU time in µs of Python that a hand-over takes of the engine process",
    "live_fields": "fields that come from Redis, the price first; 0: none",
    "popularity": "exponent of Zipf's law of items in requests",
    "months_kept": "months that lists are kept",
    "retraining_lists": "lists of a retraining (default: those of a day)",
    "mined_requests": "requests mined for it (default: as many)",
    "hours": "window of a retraining, and of mining",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; a demand that cannot be planned for is exit status 2."""
    parser = argparse.ArgumentParser("python -m loadtest.scale", description=__doc__)
    for field in fields(Demand):
        given = "" if field.default is None else " (default: %(default)s)"
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(
            option(field.name), type=kind, default=field.default, metavar="N", help=_HELP[field.name] + given
        )
    parser.add_argument("--table", choices=list(TABLES), nargs="+", default=list(TABLES), help="tables (default: all)")
    options = vars(parser.parse_args(argv))
    chosen = options.pop("table")
    try:
        demand = Demand(**options)
    except DemandError as error:
        print(f"loadtest.scale: {error}", file=sys.stderr)
        return 2
    for name in chosen:
        print(f"<!-- table: {name} -->\n\n{TABLES[name](demand)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
