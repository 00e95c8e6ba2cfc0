"""Time the engine; with --plan, say instead how many requests a second are safe on this host.

The command lives here because a plan needs a running service, which `export` knows nothing about.
"""

from __future__ import annotations

import argparse

from export.bench import options as bench_options
from loadtest import plan


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of both."""
    bench_options.configure(parser)
    plan.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Plan or time. Raises `ValueError` naming an option that is wrong or does nothing, `ModuleNotFoundError`."""
    plan.complete(arguments)
    bench_options.complete(arguments)
    if arguments.plan:
        return plan.run(arguments)
    from export.bench import engine as bench

    return bench.run(arguments)
