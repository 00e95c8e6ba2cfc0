"""Find out why a body could not be decoded, and name the field.

msgspec stops at the first fault: a wrong field may hide that the rest is no JSON. It says neither which key of an
object was wrong nor that a malformed token was NaN. So the whole is checked first, then a body that is not too large is
read a second time.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from service.contract.column_schemas import MOST_COLUMNS, FeatureColumn, ScoreColumn, TagColumn
from service.contract.problems import MALFORMED_JSON, Problem, invalid
from service.contract.rule_schemas import Value
from service.contract.values import FieldValue

READ_AGAIN: Final = 256 * 1024
"""Most bytes of a body that is read a second time, which takes about 5 times as long as the first."""

_check: Final = msgspec.json.Decoder(msgspec.Raw).decode  # Checks syntax, and builds nothing.
_AT: Final = " - at `$"
_UNKNOWN, _MISSING = "Object contains unknown field `", "Object missing required field `"
_COLUMN: Final = re.compile(r"(candidates\.(scores|features|tags))\[\.\.\.\].*")
_VALUE_TYPES: Final[dict[str, Any]] = {
    "scores": list[float | None],
    **dict.fromkeys(("features", "tags", "user", "context"), list[FieldValue]),
    "where": list[Value],
}
"""Type of a list of the values that an object of any names takes, by its own name."""

_BLOCK: Final = 1000
"""So many values are looked at together: one at a time takes ten times as long, and bodies hold 30,000."""

_COLUMN_TYPES: Final[dict[str, Any]] = {"scores": ScoreColumn, "features": FeatureColumn, "tags": TagColumn}
_REQUIRED: Final = frozenset(
    (
        *("candidates", "id", "scores", "name", "score"),
        *("position", "by", "limit", "value", "least", "within", "where", "factor"),
    )
)
_GOT_NULL: Final = "got null"
_GOT_NUMBER: Final = re.compile(r"Expected str( \| null)?, got (int|float)")
_CONSTANTS: Final = (b"NaN", b"-Infinity", b"Infinity")
_TOO_DEEP: Final = "the body is nested too deeply"
_LONGEST_PATH: Final = 300
_LONGEST_PROBLEM: Final = 200


def check_utf8(body: bytes) -> None:
    """Raise `UnicodeDecodeError` for a body that is not UTF-8, also where msgspec leaves JSON unread."""
    if not body.isascii():  # Most are, and looking takes a fraction of the time.
        body.decode()


def too_many_fields(body: bytes, count: int, most: int) -> Problem:
    """Make the refusal of a body that counts more than `most` fields."""
    fault = _syntax_fault(body)
    if fault is not None:
        return Problem(MALFORMED_JSON, fault)
    return invalid("", f"the body counts {count} fields, at most {most} are allowed; docs/api.md says what counts")


def refusal(error: Exception, body: bytes) -> Problem:
    """Make a 400 for what is no JSON, else a 422 from msgspec's `error`.

    A NaN or an Infinity is a 422, like a field of the wrong type, if everything else is JSON.
    """
    if isinstance(error, RecursionError):
        return Problem(MALFORMED_JSON, _TOO_DEEP)
    fault = _syntax_fault(body)
    if fault is not None:
        if not any(constant in body for constant in _CONSTANTS) or _syntax_fault(_without_constants(body)) is not None:
            return Problem(MALFORMED_JSON, fault)
        if not isinstance(error, msgspec.ValidationError):
            return _not_finite(body)
    return _invalid(str(error), body)


def _syntax_fault(body: bytes) -> str | None:
    """Say why the body is no JSON in UTF-8; None if it is."""
    if not body.strip():
        return "the body is empty"
    if body.startswith(codecs.BOM_UTF8):
        return "the body begins with a byte order mark, which JSON does not have"
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in body[:4]:
        return "the body is not UTF-8, but UTF-16 or UTF-32"
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return f"the body is not valid UTF-8 (byte {error.start})"
    try:
        _check(body)
    except RecursionError:
        return _TOO_DEEP
    except msgspec.DecodeError as error:
        # Of what msgspec refuses, Python's reader takes halves of characters only, and the constants.
        lone = len(body) <= READ_AGAIN and "\\u" in text and _read_again(_without_constants(body)) is not None
        return "text has half of a surrogate pair, such as \\ud800" if lone else str(error)[:_LONGEST_PROBLEM]
    return None


def _without_constants(body: bytes) -> bytes:
    """Put ` null` for each NaN and Infinity; what is no JSON otherwise stays none."""
    for constant in _CONSTANTS:
        if constant in body:  # Looking takes a fraction of the time.
            body = body.replace(constant, b" null")
    return body


def _not_finite(body: bytes) -> Problem:
    """Make a 422 that names the first NaN or Infinity."""
    if len(body) > READ_AGAIN:
        return invalid("", f"a number is NaN or infinite; numbers must be finite{_too_large('the field')}")
    path, constant = _find_constant(_read_again(body))
    return invalid(path[:_LONGEST_PATH], f"is {constant}; numbers must be finite")


def _invalid(message: str, body: bytes) -> Problem:
    """Make a 422 from msgspec's message."""
    path, problem = locate(message)
    name = path.rpartition(".")[2]
    if (name in _REQUIRED or path.startswith("candidates.id[")) and problem.endswith(_GOT_NULL):
        problem = "is null, which means missing; it is required"
    elif _GOT_NUMBER.fullmatch(problem):
        problem = 'must be a string, not a number: put it in quotes, as "7"'
    if (in_columns := _COLUMN.fullmatch(path)) is not None:
        path = _find_in_columns(in_columns[2], body) or in_columns[1]
    elif path.endswith("[...]"):
        path = path.removesuffix("[...]")
        if len(body) > READ_AGAIN:
            problem += _too_large("which of its fields")
        else:
            path = _find_key(path, body)
    return invalid(path[:_LONGEST_PATH], problem)


def locate(message: str) -> tuple[str, str]:
    """Return the path of what msgspec's message is about, and the problem."""
    problem, path = _split(message)
    for prefix, said in ((_UNKNOWN, "is not a known field"), (_MISSING, "is missing")):
        if problem.startswith(prefix):
            path = f"{path}.{problem[len(prefix) : len(prefix) + _LONGEST_PATH].removesuffix('`')}".lstrip(".")
            problem = said
    # Clients send base64 where msgspec makes bytes.
    return path, problem.replace("`", "").replace("Expected bytes", "Expected base64")[:_LONGEST_PROBLEM]


def _split(message: str) -> tuple[str, str]:
    """Split msgspec's message into problem and path.

    A name in the message may look like a path.
    """
    problem, mark, path = message.rpartition(_AT)
    whole = not problem.startswith(_UNKNOWN) or problem.endswith("`")
    if mark and whole and path.find("`") == len(path) - 1:
        return problem, path[:-1].lstrip(".")
    return message, ""


def _too_large(what: str) -> str:
    return f" ({what} is not looked for in a body over {READ_AGAIN // 1024} KiB)"


def _find_key(path: str, body: bytes) -> str:
    """Return the path of the first refused entry of the object at `path`."""
    kind = _VALUE_TYPES[path.rpartition(".")[2]]
    inner = _read_again(body)
    try:
        for step in re.findall(r"[^.\[\]]+", path):
            inner = inner[int(step)] if isinstance(inner, list) else inner[step]
        refused = _first_refused(inner.items(), kind)
    except (LookupError, TypeError, ValueError, AttributeError):
        return path  # A repeated key has replaced the part that was refused.
    return path if refused is None else f"{path}.{refused}"


def _first_refused(entries: Iterable[tuple[str, Any]], kind: Any) -> str | None:
    """Return the key of the first value that no list of type `kind` holds."""
    rest = iter(entries)
    while block := list(islice(rest, _BLOCK)):
        if not _are([value for _, value in block], kind):
            return next((key for key, value in block if not _are([value], kind)), None)
    return None


class _Whole(msgspec.Struct):
    """A body whose candidates are columns, none of which has been read."""

    candidates: dict[str, msgspec.Raw]


def _find_in_columns(group: str, body: bytes) -> str:
    """Return the path of the first refused value in a group of columns.

    It is empty if a repeated key has replaced that value, and where there are too many columns to look at.
    """
    try:
        whole = msgspec.json.decode(body, type=_Whole).candidates
        columns = msgspec.json.decode(whole[group], type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, KeyError, RecursionError):
        return ""
    decode = msgspec.json.Decoder(_COLUMN_TYPES[group]).decode
    for name, column in islice(columns.items(), MOST_COLUMNS):
        try:
            decode(column)
        except RecursionError:
            return ""
        except msgspec.DecodeError as error:
            return f"candidates.{group}.{name}{locate(str(error))[0]}"
    return ""


def _are(values: list[Any], kind: Any) -> bool:
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        return False
    try:
        msgspec.convert(values, kind)
    except msgspec.ValidationError:
        return False
    return True


class _Constant:
    """A NaN, an Infinity, or an integer too long for Python to read."""

    def __init__(self, text: str) -> None:
        self.text = text


def _read_again(body: bytes) -> Any:
    """Read a body with whatever Python's reader takes; None if that refuses it as well."""
    text = body.decode()
    for read_integer in (None, _read_integer):  # The first, which is faster, refuses integers of thousands of digits.
        try:
            return json.loads(text, parse_constant=_Constant, parse_int=read_integer)
        except RecursionError:  # It needs more of the stack than msgspec does.
            return None
        except ValueError:
            pass
    return None


def _read_integer(text: str) -> int | _Constant:
    return int(text) if len(text) < 4000 else _Constant(text[:40])


def _find_constant(root: Any) -> tuple[str, str]:
    """Return path and text of the first constant, without recursion, since clients choose the depth."""
    stack: list[Iterator[tuple[str | int, Any]]] = [iter([("", root)])]
    keys: list[str | int] = []
    while stack:
        for key, value in stack[-1]:
            kind = type(value)
            if kind is dict or kind is list:
                keys.append(key)
                stack.append(iter(value.items()) if kind is dict else iter(enumerate(value)))
                break
            if kind is _Constant:
                return _path([*keys, key]), value.text
        else:
            stack.pop()
            del keys[-1:]
    return "", "NaN or infinite"  # A repeated key has replaced it.


def _path(keys: list[str | int]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
