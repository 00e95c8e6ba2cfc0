"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module

import pytest

from models import cli
from models.options import MOST_SEED, parse_seed

COMMANDS = ["models.commands.data", "models.commands.train", "models.commands.mine", "models.commands.evaluate"]


def seeds(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """Every option of a seed of a parser and its subcommands, with the command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from seeds(subparser)
        elif any(option.endswith("seed") for option in action.option_strings):
            yield parser.prog, action


@pytest.mark.parametrize("command", [*COMMANDS, "export.command"])
def test_every_seed_is_checked_alike(command: str) -> None:
    parser = argparse.ArgumentParser(prog=command)
    import_module(command).configure(parser)
    found = list(seeds(parser))
    assert found
    assert [prog for prog, action in found if action.type is not parse_seed] == []


@pytest.mark.parametrize("seed", ["99999999999999999999999", str(MOST_SEED + 1), "-1", "1.5", "one", ""])
@pytest.mark.parametrize(
    "command",
    [
        ["train", "sort-gen", "--data", "lists.parquet", "--out", "run"],
        ["data", "simulator", "-o", "lists.parquet"],
        ["mine", "--data", "lists.parquet", "--evaluator", "checkpoint.pt", "--out", "mined"],
    ],
)
def test_a_seed_out_of_range_is_named(command: list[str], seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, f"--seed={seed}"])
    assert caught.value.code == 2
    assert f"argument --seed: must be a whole number within 0 and {MOST_SEED}, not {seed!r}" in capsys.readouterr().err


def test_seeds_in_range_are_read() -> None:
    assert [parse_seed("0"), parse_seed(str(MOST_SEED))] == [0, MOST_SEED]
