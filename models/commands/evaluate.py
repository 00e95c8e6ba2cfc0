"""Compare orders and planners on lists whose outcome is known."""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import Final

from models.evaluation import folds, logs, mining_cost
from models.evaluation.degre import driver
from models.evaluation.randomised import command as randomised
from models.evaluation.simulated import command as simulated
from models.evaluation.simulated import rules_command as rules
from models.evaluation.truth import command as truth

_SUBCOMMANDS: Final[dict[str, tuple[str, ModuleType]]] = {
    "logs": ("logged lists, re-ranked by a running service", logs),
    "simulator": ("planners and value models on simulated lists, where truth is known", simulated),
    "rules": ("caps inside the selection against the same caps on the finished list, simulated", rules),
    "folds": ("the test folds of a log: data, training, export, service and `logs` for each", folds),
    "randomised": ("a frozen model on real lists in random order: does what it promises come true?", randomised),
    "degre": ("DeGRe's experiments: planners and evaluators under several judges, resumable", driver),
    "truth": ("all methods of both papers in a declared world, from its logs to the tables, resumable", truth),
    "mining-cost": ("mining with a cache of prefixes against re-reading every list", mining_cost),
}
"""Each module offers ``configure(parser)`` and ``run(arguments) -> int``, as commands do."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand per kind of comparison."""
    subcommands = parser.add_subparsers(dest="subcommand", required=True, metavar="WHAT")
    for name, (text, module) in _SUBCOMMANDS.items():
        module.configure(subcommands.add_parser(name, help=text, description=module.__doc__))


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen subcommand."""
    status: int = _SUBCOMMANDS[arguments.subcommand][1].run(arguments)
    return status
