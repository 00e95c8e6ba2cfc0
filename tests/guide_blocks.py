"""Read the marked blocks of a guide, and run the commands in them."""

from __future__ import annotations

import contextlib
import io
import re
import shlex

from models import cli


def block(text: str, mark: str) -> str:
    """The block of code behind the comment ``<!-- mark -->``."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n+```\w+\n(.*?)```", text, re.DOTALL)
    assert found, f"there is no block marked {mark}"
    return found[1]


def commands(text: str, mark: str) -> list[list[str]]:
    """The command lines of a block, as words."""
    lines = block(text, mark).replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def run(words: list[str]) -> str:
    """Run `listwright` in this process and return what it prints."""
    assert words[0] == "listwright"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(words[1:]) == 0, words
    return out.getvalue()
