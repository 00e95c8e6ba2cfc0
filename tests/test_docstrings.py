"""Check that the first line of every docstring is short, complete and begins with a verb.

Every module has a docstring. A first line has at most 15 words and ends with a period. It never begins with a question
word or a free relative ("What", "Whoever", "How", …), nor with "Knows nothing". For modules and functions it begins
with a verb in the imperative; that cannot be tested wholly, so words that cannot be one are refused. Classes and
properties may begin with a noun where that reads better, as in "Sizes of a generator".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("models", "export", "service", "loadtest", "deploy")
MOST_WORDS: Final = 15

QUESTIONS: Final = "what whatever which whichever who whoever whose whom how however whether where wherever when why"
NO_VERBS: Final = (
    "a an the it its they these this that those there one two three each every everything all any both some no none "
    "not nothing as at by for from in of on to under with without if so only true false is are has was were"
)

_SHAPE: Final = re.compile(r"\[[^\]]*\]")
"""Shapes as in "logits [B, T, K]" are notation and no words."""


class Docstring(NamedTuple):
    """Hold a docstring's first line, the name of its owner, and whether that may begin with a noun."""

    owner: str
    line: str
    noun_allowed: bool

    def problems(self) -> Iterator[str]:
        """Name the rules that the first line breaks."""
        words = [word for word in _SHAPE.sub(" ", self.line).split() if any(map(str.isalnum, word))]
        if not words:
            yield "is empty"
            return
        first = words[0].lower().strip(".,:;—()\"'")
        if len(words) > MOST_WORDS:
            yield f"has {len(words)} words"
        if not self.line.endswith("."):
            yield "does not end with a period"
        if first in QUESTIONS.split() or self.line.startswith("Knows nothing"):
            yield f"begins with {words[0]!r}"
        if not self.noun_allowed and (
            first in NO_VERBS.split() or _is_plural_or_third_person(first) or not first.replace("-", "").isalpha()
        ):
            yield f"begins with {words[0]!r}, not with a verb"


def _is_plural_or_third_person(word: str) -> bool:
    return word.endswith("s") and not word.endswith("ss") and word not in ("focus", "bias")


def docstrings(tree: ast.Module) -> Iterator[Docstring]:
    """Find the docstrings of a module and of all that is defined in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is None and not isinstance(node, ast.Module):
                continue
            lines = (text or "").splitlines() or [""]
            yield Docstring(getattr(node, "name", "the module"), lines[0], _may_begin_with_noun(node))


def _may_begin_with_noun(node: ast.AST) -> bool:
    if isinstance(node, ast.ClassDef):
        return True
    return any(ast.unparse(mark).endswith("property") for mark in getattr(node, "decorator_list", ()))


def files() -> list[str]:
    """List our source files, as paths from the root."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def problems(file: str) -> list[str]:
    """List the broken rules of a file, each with the docstring's owner and first line."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return [f"{d.owner}: {problem}: {d.line!r}" for d in docstrings(tree) for problem in d.problems()]


@pytest.mark.parametrize("file", files())
def test_first_lines_are_plain_english(file: str) -> None:
    assert not problems(file), "\n".join(problems(file))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "is empty"),
        ("Load and verify bundles in the background", "does not end with a period"),
        ("What a bundle holds.", "begins with 'What'"),
        ("The bundles of a folder.", "begins with 'The', not with a verb"),
        ("Loads bundles.", "begins with 'Loads', not with a verb"),
        ("`Bundle` of a folder.", "begins with '`Bundle`', not with a verb"),
        ("Load " + "and verify " * 8 + "bundles.", "has 18 words"),
    ],
)
def test_a_bad_first_line_is_found(line: str, problem: str) -> None:
    assert problem in list(Docstring("load", line, noun_allowed=False).problems())


def test_a_good_first_line_passes_and_a_class_may_begin_with_a_noun() -> None:
    line = "Load and verify bundles in the background, then publish them."
    assert not list(Docstring("load", line, noun_allowed=False).problems())
    tree = ast.parse('"""Hold sizes."""\nclass Sizes:\n    """The sizes of a model."""\n')
    assert not [problem for docstring in docstrings(tree) for problem in docstring.problems()]
