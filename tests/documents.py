"""Read the repository's Markdown: its documents, links, code and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
GUIDES: Final = tuple(
    ROOT / name
    for name in (
        *("README.md", "CONTRIBUTING.md", "SECURITY.md"),
        *("docs/api.md", "docs/architecture.md", "docs/operations.md", "docs/reliability.md", "docs/settings.md"),
        *(
            "docs/catalogue.md",
            "docs/kubernetes.md",
            "docs/playground.md",
            "docs/report.md",
            "docs/runbook.md",
            "docs/training.md",
            "docs/world.md",
        ),
    )
)
"""Say how things are now, so every option in them must exist."""

DOCUMENTS: Final = (*GUIDES, ROOT / "CHANGELOG.md", *sorted(set((ROOT / "docs").rglob("*.md")) - set(GUIDES)))
"""The guides and the dated records: measurements, decisions, changes."""

_FENCE: Final = re.compile(r"^```.*?^```[^\n]*$", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"`([^`]+)`")


def name_of(document: Path) -> str:
    """Path from the repository's root, to name a document in a test."""
    return document.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """The text without blocks of code."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Targets of links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", _SPAN.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as Markdown viewers make them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def spans(text: str) -> list[str]:
    """Code inside the prose, each on one line."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose(text))]


def commands(text: str) -> Iterator[list[str]]:
    """Every command line in blocks and spans as words; prompts, comments and variables before it are left out."""
    blocks = "\n".join(_FENCE.findall(text)).replace("\\\n", " ")
    for line in (*blocks.splitlines(), *spans(text)):
        for part in line.removeprefix("$ ").split(" && "):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue  # Prose or output with an apostrophe.
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words:
                yield words
