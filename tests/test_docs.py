"""Hold the documents to the repository: links, paths, commands, options, metrics, errors and alerts exist."""

from __future__ import annotations

import argparse
import importlib
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from deploy.alerts.files import ALERTS
from service.contract.problems import KINDS
from service.telemetry.metrics import Metrics
from tests.deploy.files import supervisor_metrics
from tests.documents import DOCUMENTS, GUIDES, ROOT, anchors, commands, links, name_of, spans

PACKAGES = ("service", "models", "export", "loadtest")
FOLDERS = (*PACKAGES, "tests", "docs", "deploy")
RETIRED = {"plan", "--plan"}
"""Commands of the past: figures were taken with them, or a guide says what replaces them."""

API = (ROOT / "docs" / "api.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


@every_document
def test_every_internal_link_resolves(document: Path) -> None:
    for link in links(document.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


@every_document
def test_every_path_exists(document: Path) -> None:
    text = document.read_text("utf-8")
    for span in (*spans(text), *(word for words in commands(text) for word in words[1:])):
        if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span):
            assert (ROOT / span).exists(), span
        elif re.fullmatch(r"[\w-]+/[\w/]+\.py", span):
            assert (ROOT / "service" / span).exists(), span


@every_document
def test_every_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for command in commands(document.read_text("utf-8")):
        if command[0] == "make":
            named = {word for word in command[1:] if re.fullmatch(r"[a-z-]+", word)}
            assert named <= targets | RETIRED, command


@every_document
def test_every_module_that_is_run_exists(document: Path) -> None:
    for command in commands(document.read_text("utf-8")):
        if "-m" in command and Path(command[0]).name.startswith("python"):
            module = command[command.index("-m") + 1]
            if module.partition(".")[0] in FOLDERS and module not in RETIRED:
                path = ROOT.joinpath(*module.split("."))
                assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@every_document
def test_every_listwright_command_exists(document: Path) -> None:
    for command in commands(document.read_text("utf-8")):
        if Path(command[0]).name == "listwright" and command[1:2] != ["--version"] and len(command) > 1:
            parser, rest = _parser_of(command[1:])
            if document in GUIDES:
                options = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
                assert options <= parser._option_string_actions.keys() | RETIRED, command


def _parser_of(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser of the command that `words` name, and the words after that."""
    parser = argparse.ArgumentParser()
    assert words[0] in _modules(), words
    importlib.import_module(_modules()[words[0]]).configure(parser)
    rest = words[1:]
    while rest and (choices := _subcommands(parser)):
        assert rest[0] in choices, words
        parser, rest = choices[rest[0]], rest[1:]
    return parser, rest


@cache
def _modules() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return dict(project["entry-points"]["listwright.commands"])


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found[0]) if found else {}


def _rooms() -> dict[str, str]:
    """Folder to the description in the tables of docs/architecture.md."""
    return dict(re.findall(r"^\| `([a-z/_]+)/` \| (.*) \|$", ARCHITECTURE, re.MULTILINE))


@pytest.mark.parametrize("room", sorted(_rooms()))
def test_the_architecture_names_the_files_of_a_room(room: str) -> None:
    described = _rooms()[room]
    named = set(re.findall(r"`([a-z0-9_]+\.[a-z]+)`", described))
    files = {path.name for path in (ROOT / room).iterdir() if path.is_file()}
    assert not named - files, f"{room} has no {named - files}"
    if not re.search(r"\bone (file|module)\b", described):
        modules = {name for name in files if name.endswith(".py") and not name.startswith("__")}
        assert not modules - named, f"not described: {modules - named}"


def test_the_architecture_names_every_room() -> None:
    files = (path for name in (*PACKAGES, "deploy") for path in (ROOT / name).rglob("*.py"))
    assert set(_rooms()) == {path.parent.relative_to(ROOT).as_posix() for path in files}


def test_the_api_page_names_every_metric_and_no_other() -> None:
    registries = (Metrics(budget_seconds=0.019).registry, supervisor_metrics().registry)
    metrics = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for registry in registries
        for metric in registry.collect()
        if metric.name.startswith("rerank_")
    }
    assert set(re.findall(r"^\| `(rerank_\w+)`", API, re.MULTILINE)) == metrics


def test_the_api_page_names_every_kind_of_problem() -> None:
    assert {kind.slug for kind in KINDS} <= set(spans(API))


def test_the_runbook_has_an_entry_for_every_alert_and_for_no_other() -> None:
    entries = re.findall(r"^### (Rerank\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(entries) == sorted(alert.name for alert in ALERTS)


def test_every_entry_of_the_runbook_says_all_that_one_needs_at_night() -> None:
    for entry in re.split(r"^### ", RUNBOOK, flags=re.MULTILINE)[1:]:
        parts = re.findall(r"^\*\*(.*?)\.\*\*", entry, re.MULTILINE)
        assert parts == ["Means", "Users see", "Look at", "Do", "Escalate"], entry.splitlines()[0]


def test_the_runbook_lists_the_alerts_that_page_as_such() -> None:
    rows = re.findall(r"^\| [a-z]+ \| (\[Rerank.*) \|$", RUNBOOK, re.MULTILINE)
    pages = " ".join(row.rpartition("(page")[0] for row in rows)
    assert set(re.findall(r"\[(Rerank\w+)\]", pages)) == {a.name for a in ALERTS if a.severity == "page"}
    assert set(re.findall(r"\[(Rerank\w+)\]", " ".join(rows))) == {alert.name for alert in ALERTS}
