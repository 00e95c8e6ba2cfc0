"""Does a setting of the serving process help? Two services that differ in it alone, measured in turn, block by block.

``python -m loadtest.cost.paired --a "OPTIONS" --b "OPTIONS"``: options of ``listwright serve``, with environment
variables as NAME=VALUE before them, as in ``--b "PYTHONMALLOC=malloc --log-level warning"``. All run at once on the
same CPU and only one is asked at a time; the others wait. A third service with a's options is the control: how far two
services that do not differ come out apart.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from loadtest.cost.service_cost import Split, on_cpus
from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads
from loadtest.rig.client import post_message
from loadtest.rig.closed_loop import ClosedBlock, ClosedLoop
from loadtest.rig.latency import Latency
from loadtest.rig.paired_ratio import PairedRatio
from loadtest.rig.server import HOST, ServerError, running_server
from loadtest.run import only_bundle
from models.files import write_json

PATH: Final = "/v1/rerank"
SIDES: Final = ("a", "b", "a again")
FIGURES: Final = ("p50", "p99", "ms a request")
# In the environment, so that a side may set another. A late answer is a figure, one without the model would be none.
_UNHURRIED: Final = {"LISTWRIGHT_BUDGET_MS": "10000"}
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Variant:
    """One side: environment variables, and options of ``listwright serve``."""

    environment: Mapping[str, str]
    options: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Variant:
        """NAME=VALUE words up to the first word that is none, then options. Raises `ValueError` for open quotes."""
        words = shlex.split(text)
        environment: dict[str, str] = {}
        while words and (found := _ASSIGNMENT.fullmatch(words[0])):
            environment[found[1]] = found[2]
            words.pop(0)
        return cls(environment, tuple(words))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure at one concurrency: medians of a and b in milliseconds, b to a, and a to itself."""

    concurrency: int
    figure: str
    a: float
    b: float
    ratio: PairedRatio
    control: PairedRatio


def compare(concurrency: int, blocks: Sequence[Mapping[str, ClosedBlock]]) -> list[Comparison]:
    """Blocks by side, each mapping measured in one turn, to a row per figure."""
    figures = {side: [_figures(turn[side]) for turn in blocks] for side in SIDES}
    rows = []
    for i, name in enumerate(FIGURES):
        a, b, again = ([values[i] for values in figures[side]] for side in SIDES)
        medians = statistics.median(a), statistics.median(b)
        rows.append(Comparison(concurrency, name, *medians, PairedRatio.of(a, b), PairedRatio.of(a, again)))
    return rows


def _figures(block: ClosedBlock) -> tuple[float, ...]:
    latency = Latency.of(block.times_ms)
    return latency.p50, latency.p99, 1000 / block.rate


def markdown(rows: Sequence[Comparison]) -> str:
    """A table; a ratio under 1 says that b is quicker."""
    lines = [
        "| in flight | figure | a ms | b ms | b / a (95%) | a again / a (95%) |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    lines += [f"| {r.concurrency} | {r.figure} | {r.a:.3f} | {r.b:.3f} | {r.ratio} | {r.control} |" for r in rows]
    return "\n".join(lines)


def run(options: argparse.Namespace) -> list[Comparison]:
    """Serve all three, measure them in turn, stop. Raises `ValueError` or `ServerError`."""
    bundle = options.bundle or only_bundle(options.bundles)
    settings = PayloadOptions(count=16, sizes={options.candidates: 1.0}, extra={"timeout_ms": 1000})
    bodies = [payload.body for payload in make_payloads(from_bundle(bundle, seed=options.seed), settings)]
    a, b = Variant.parse(options.a), Variant.parse(options.b)
    split = Split.of(os.sched_getaffinity(0), options.cpus)
    rng = np.random.default_rng(options.seed)
    with ExitStack() as stack:
        ports = {}
        for side, variant in zip(SIDES, (a, b, a), strict=True):
            environment = {**_UNHURRIED, **variant.environment}
            started = running_server(
                options.bundles, options=variant.options, cpus=split.server, environment=environment
            )
            ports[side] = stack.enter_context(started).port
        stack.enter_context(on_cpus(split.client))
        rows = []
        for concurrency in options.concurrency:
            loops = {side: ClosedLoop(HOST, port, concurrency=concurrency) for side, port in ports.items()}
            for loop in loops.values():
                stack.callback(loop.close)
            messages = [post_message(HOST, PATH, body) for body in bodies]
            for loop in loops.values():
                loop.block(messages, options.requests)
            turns = [
                {side: loops[side].block(messages, options.requests) for side in rng.permutation(SIDES).tolist()}
                for _ in range(options.blocks)
            ]
            rows += compare(concurrency, turns)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 0, or 2 without a run."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        rows = run(options)
    except (ValueError, OSError, ServerError) as error:
        parser.exit(2, f"loadtest.cost.paired: {error}\n")
    print(markdown(rows))
    if options.json:
        write_json(options.json, {"a": options.a, "b": options.b, "rows": [asdict(row) for row in rows]})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.cost.paired", description=__doc__)
    add = parser.add_argument
    add("--a", default="", metavar="OPTIONS", help="the first service's settings (none)")
    add("--b", required=True, metavar="OPTIONS", help="the second's")
    add("--bundles", type=Path, default=Path("bundles"), help="folder of bundles to serve (bundles)")
    add("--bundle", type=Path, help="whose requests to make, if there are several bundles")
    add("--candidates", type=int, default=100, help="candidates of a request (100)")
    add("--concurrency", type=int, nargs="+", default=[1, 8], help="requests in flight (1 8)")
    add("--cpus", type=int, default=1, help="CPUs that the services share (1)")
    add("--blocks", type=int, default=30, help="turns at each concurrency (30)")
    add("--requests", type=int, default=200, help="requests of a block (200)")
    add("--seed", type=int, default=0, help="seed of the requests and of the order in a turn (0)")
    add("--json", type=Path, help="write the figures here too")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
