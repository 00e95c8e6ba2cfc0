"""The `listwright` command: finding subcommands, exit statuses, and errors without tracebacks."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NoReturn

import pytest

from models import cli

ROOT = Path(__file__).parents[2]
COMMANDS = ["data", "train", "mine", "evaluate", "catalogue", "rerank", "report", "fetch", "export", "serve", "bench"]


def configure(parser: argparse.ArgumentParser) -> None:
    """This module is a command, too: see `plugged`."""
    parser.add_argument("--status", type=int, default=0)
    parser.add_argument("--problem")
    parser.add_argument("--missing")
    parser.add_subparsers(dest="task").add_parser("sub").add_argument("--depth")


def run(arguments: argparse.Namespace) -> int:
    if arguments.missing:
        raise ModuleNotFoundError(name=arguments.missing)
    if arguments.problem == "bug":
        raise KeyError("a bug keeps its traceback")
    if arguments.problem == "no room":
        raise OSError(28, "No space left on device", "lists.parquet")
    if arguments.problem == "Ctrl-C":
        raise KeyboardInterrupt
    if arguments.problem:
        raise ValueError(arguments.problem)
    return int(arguments.status)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """`listwright data` is this module, and `listwright bench` needs something that is not installed."""
    points = [
        EntryPoint("data", __name__, "listwright.commands"),
        EntryPoint("bench", "no_such_package.bench", "listwright.commands"),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: [p for p in points if p.group == group])


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: listwright COMMAND")
    assert [line.split()[0] for line in printed.splitlines()[2:]] == COMMANDS


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("listwright: unknown command 'trian'\nusage: ")
    assert not printed.out


@pytest.mark.usefixtures("plugged")
def test_a_commands_status_is_the_exit_status() -> None:
    assert cli.main(["data", "--status", "0"]) == 0
    assert cli.main(["data", "--status", "5"]) == 5


@pytest.mark.usefixtures("plugged")
def test_bad_input_is_one_line_on_stderr_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "--problem", "row 3, column price: is negative"]) == 2
    printed = capsys.readouterr()
    assert printed.err == "listwright data: row 3, column price: is negative\n"
    assert not printed.out


@pytest.mark.usefixtures("plugged")
def test_a_file_that_cannot_be_written_is_named_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "--problem", "no room"]) == 2
    assert capsys.readouterr().err == "listwright data: [Errno 28] No space left on device: 'lists.parquet'\n"


@pytest.mark.usefixtures("plugged")
def test_ctrl_c_is_one_line_and_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "--problem", "Ctrl-C"]) == 130
    printed = capsys.readouterr()
    assert printed.err == "listwright data: interrupted\n"
    assert not printed.out


def test_ctrl_c_in_a_training_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: argparse.Namespace) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("models.commands.train.run", interrupted)
    assert cli.main(["train", "sort-gen", "--data", "lists.parquet", "--out", "run"]) == 130
    assert capsys.readouterr().err == "listwright train: interrupted; go on with --resume auto\n"


def test_ctrl_c_while_a_command_is_loaded_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: EntryPoint) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_load", interrupted)
    assert cli.main(["report"]) == 130
    assert capsys.readouterr().err == "listwright report: interrupted\n"


@pytest.mark.usefixtures("plugged")
def test_a_bug_is_not_mistaken_for_bad_input() -> None:
    with pytest.raises(KeyError, match="keeps its traceback"):
        cli.main(["data", "--problem", "bug"])


@pytest.mark.usefixtures("plugged")
def test_an_unknown_option_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "--colour=red"])
    assert caught.value.code == 2
    assert "--colour" in capsys.readouterr().err


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize("words", [["--stat=5"], ["sub", "--dep=5"], ["sub", "--dep", "5"], ["sub", "--status=5"]])
def test_the_beginning_of_an_options_name_is_no_option(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", *words])
    assert caught.value.code == 2
    (option,) = (word.partition("=")[0] for word in words if word.startswith("-"))
    assert capsys.readouterr().err.splitlines()[-1] == f"listwright data: error: unrecognized arguments: {option}"
    assert cli.main(["data", "--status", "5", "sub", "--depth", "1"]) == 5


@pytest.mark.parametrize(
    "words",
    [
        ["--api-keys", "s3cr3t-key"],
        ["--api-keys=s3cr3t-key"],
        ["--api-keys", "-s3cr3t"],
        ["--host", "::1", "--api-k=s3cr3t-key"],
    ],
)
def test_keys_on_the_command_line_are_refused_and_not_shown(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", *words])
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert "error: unrecognized arguments: --api-k" in printed.err
    assert "s3cr3t" not in printed.err + printed.out


@pytest.mark.usefixtures("plugged")
def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["bench"])
    assert caught.value.code == "listwright bench: needs 'no_such_package', which is not installed"


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize(
    ("package", "advice"),
    [
        ("onnxruntime", "the extra cpu: pip install '.[cpu]' in a checkout, or '.[gpu]' for NVIDIA's GPUs"),
        ("torch.nn", "the extra train: pip install '.[train]' in a checkout"),
        ("locust", "the extra load: pip install '.[load]' in a checkout"),
    ],
)
def test_a_missing_package_of_an_extra_says_which_extra(package: str, advice: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "--missing", package])
    assert caught.value.code == f"listwright data: needs {package!r}, which is not installed; it is in {advice}"


def test_the_extras_are_those_of_the_project() -> None:
    """Every package that an extra of users brings is named; one that two bring counts for the first."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    modules = {"scikit-learn": "sklearn", "opentelemetry-sdk": "opentelemetry"}
    modules["opentelemetry-exporter-otlp-proto-http"] = "opentelemetry"
    known: set[str] = set()
    for extra, packages in cli._EXTRAS.items():
        brought = {re.split(r"[^\w-]", requirement)[0] for requirement in extras[extra]}
        named = set(packages.split())
        assert named - {"hiredis"} == {modules.get(name, name) for name in brought} - known, extra
        known |= named
    assert extras.keys() - cli._EXTRAS.keys() == {"gpu", "peers", "dev"}


def test_help_needs_neither_torch_nor_the_service() -> None:
    code = (
        "import sys; from models.cli import main; main(['--help']); "
        "print([m for m in ('torch', 'service', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_installed_command_is_this_one() -> None:
    command = Path(sys.executable).with_name("listwright")
    if not command.exists():
        pytest.skip("the package is not installed beside this Python")
    done = subprocess.run([command, "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unknown command 'nonsense'" in done.stderr


@pytest.mark.parametrize("words", [["-api-keys", "s3cr3t-key"], ["-api-keys=s3cr3t-key"]])
def test_neither_are_those_behind_one_hyphen(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", *words])
    assert capsys.readouterr().err.endswith("error: unrecognized arguments: -api-keys\n")
