"""Run the `listwright` command: find subcommands by entry point, without importing torch or the service."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from types import ModuleType
from typing import Any, Final

_GROUP: Final = "listwright.commands"
_INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT."""
_HELP: Final = {
    "data": "turn a source into a list file (Parquet)",
    "train": "train a list value model, or a generator from mined sequences",
    "mine": "mine the sequences that a generator learns from",
    "evaluate": "compare planners and orders on lists whose outcome is known",
    "catalogue": "build what is known of items, so that requests need not say it",
    "rerank": "re-rank the lists of a file offline, with the code that serves them",
    "report": "show what experiments found, as one page",
    "fetch": "copy bundles from a store into the folder of a service",
    "export": "write and verify the bundle that a service loads",
    "serve": "serve bundles over HTTP",
    "bench": "time the engine and the service",
}

_EXTRAS: Final = {
    "cpu": "onnxruntime",
    "train": "jinja2 lightgbm matplotlib onnx pyarrow pymoo requests scipy sklearn tabulate torch tqdm",
    "ray": "ray",
    "redis": "hiredis redis",
    "otel": "opentelemetry",
    "store": "fsspec gcsfs s3fs",
    "load": "locust psutil",
}
"""Each extra and what is imported of it; `train` comes before `load`, which has some of the same."""


class _Parser(argparse.ArgumentParser):
    """Parser that knows options by their full names only, as do those of its subcommands.

    A beginning of a name that fits one option today may be another's tomorrow.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_all(self, arguments: Sequence[str], options: argparse.Namespace) -> argparse.Namespace:
        """Parse all arguments into `options`.

        Unknown ones are named without their values, which may be secret.
        """
        parsed, unknown = self.parse_known_args(arguments, options)
        if unknown:
            names = [word.partition("=")[0] for word in unknown if word.startswith("--")]  # A key may begin with one.
            self.error(f"unrecognized arguments: {' '.join(names or [unknown[0].partition('=')[0]])}")
        return parsed


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``listwright COMMAND …`` and return its exit status.

    A command module offers ``configure(parser)`` and ``run(arguments) -> int``. It raises `ValueError` for bad input
    and `OSError` for a file that cannot be read or written; either is printed without a traceback. So is Ctrl-C.
    """
    _let_sigterm_end_the_first_process()
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {e.name: e for e in entry_points(group=_GROUP)}
    if not arguments or arguments[0] not in commands:
        return _without_command(arguments, sorted(commands, key=lambda name: ([*_HELP, name].index(name), name)))
    options = argparse.Namespace()
    try:
        return _run(commands[arguments[0]], arguments[1:], options)
    except KeyboardInterrupt:
        further = "; go on with --resume auto" if hasattr(options, "resume") else ""
        print(f"listwright {arguments[0]}: interrupted{further}", file=sys.stderr)
        return _INTERRUPTED


def _run(command: EntryPoint, arguments: Sequence[str], options: argparse.Namespace) -> int:
    """Read the arguments into `options`, run the command, and return its exit status."""
    name = command.name
    module = _load(command)
    parser = _Parser(prog=f"listwright {name}", description=module.__doc__)
    module.configure(parser)
    try:
        return int(module.run(parser.parse_all(arguments, options)))
    except (ValueError, OSError) as error:
        print(f"listwright {name}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        raise _missing(name, error) from error


def _let_sigterm_end_the_first_process() -> None:
    """End at once on SIGTERM, as other processes do, until a command handles it.

    For the first process of a container the kernel has no default action: without a handler the signal would be lost
    while a command is imported, which takes seconds.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def _load(command: EntryPoint) -> ModuleType:
    try:
        module: ModuleType = command.load()
    except ModuleNotFoundError as error:
        raise _missing(command.name, error) from error
    return module


def _missing(name: str, error: ModuleNotFoundError) -> SystemExit:
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in _EXTRAS.items() if package in packages.split()), None)
    advice = "" if extra is None else f"; it is in the extra {extra}: pip install '.[{extra}]' in a checkout"
    if extra == "cpu":
        advice += ", or '.[gpu]' for NVIDIA's GPUs"
    return SystemExit(f"listwright {name}: needs {error.name!r}, which is not installed{advice}")


def _without_command(arguments: Sequence[str], names: Sequence[str]) -> int:
    """Print the version or the usage, and return the exit status."""
    if arguments == ["--version"]:
        print(f"listwright {version('listwright')}")
        return 0
    width = max(map(len, names), default=0)
    lines = ["usage: listwright COMMAND … | --version", "", *(f"  {n:<{width}}  {_HELP.get(n, '')}" for n in names)]
    asked = not arguments or arguments[0] in ("-h", "--help")
    if not asked:
        lines.insert(0, f"listwright: unknown command {arguments[0]!r}")
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    raise SystemExit(main())
