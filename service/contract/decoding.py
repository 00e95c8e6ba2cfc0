"""Decode and check a request's body, or raise a problem that names the field.

The fast path of decoding is one msgspec call. The rest runs only for a body that was refused: msgspec says neither
which key of an object was wrong nor that a malformed token was NaN, so the body is read a second time to find out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from service.contract.problems import MALFORMED_JSON, Problem, invalid
from service.contract.schemas import Candidate, FieldValue, RerankRequest

_decode: Final = msgspec.json.Decoder(RerankRequest).decode
_WHERE: Final = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_NAMED: Final = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)
_VALUE_TYPES: Final[dict[str, Any]] = {"scores": float, **dict.fromkeys(("features", "user", "context"), FieldValue)}


def decode_request(body: bytes) -> RerankRequest:
    """Decode the request in `body`. Raises `Problem` (400 or 422)."""
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), body) from None
    except msgspec.DecodeError as error:
        raise _malformed(str(error), body) from None
    except UnicodeDecodeError:
        raise Problem(MALFORMED_JSON, "the body is not valid UTF-8") from None


def check_request(request: RerankRequest, *, max_candidates: int) -> None:
    """Raise `Problem` (422) naming the first field that contradicts another or passes a limit."""
    candidates = request.candidates
    if len(candidates) > max_candidates:
        raise invalid("candidates", f"has {len(candidates)} candidates; at most {max_candidates} are allowed")
    _check_ids(candidates)
    _check_embeddings(candidates)
    if request.queues is not None:
        names = [queue.name for queue in request.queues]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise invalid(f"queues[{i}].name", f"{name!r} is also the name of queues[{names.index(name)}]")


def _check_ids(candidates: Sequence[Candidate]) -> None:
    ids = [candidate.id for candidate in candidates]
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for i, name in enumerate(ids):
        if name in first:
            raise invalid(f"candidates[{i}].id", f"{name!r} is also the id of candidates[{first[name]}]")
        first[name] = i


def _check_embeddings(candidates: Sequence[Candidate]) -> None:
    widths = [0 if candidate.embedding is None else len(candidate.embedding) for candidate in candidates]
    width = max(widths)
    if not width or set(widths) <= {0, width}:
        return
    first = next(i for i, w in enumerate(widths) if w)
    other = next(i for i, w in enumerate(widths) if w and w != widths[first])
    raise invalid(
        f"candidates[{other}].embedding",
        f"has {widths[other]} numbers, but that of candidates[{first}] has {widths[first]}",
    )


def _malformed(message: str, body: bytes) -> Problem:
    """Make a 422 if a NaN or Infinity is the only fault, else a 400."""
    for path, value in _walk(_read_leniently(body)):
        if isinstance(value, _NotANumber):
            return invalid(path[:300], f"is {value.text}; numbers must be finite")
    return Problem(MALFORMED_JSON, message)


def _invalid(message: str, body: bytes) -> Problem:
    """Make a 422 from msgspec's message."""
    found = _WHERE.match(message)
    problem, path = (found["problem"], found["path"] or "") if found else (message, "")
    if named := _NAMED.match(problem):
        path = f"{path}.{named['name']}".lstrip(".")
        problem = "is not a known field" if "unknown" in problem else "is missing"
    elif path.endswith("[...]"):
        path = _find_key(path.removesuffix("[...]"), body)
    return invalid(path[:300], problem.replace("`", ""))


def _find_key(path: str, body: bytes) -> str:
    """Return the path of the first refused entry of the object at `path`."""
    kind = _VALUE_TYPES[path.rpartition(".")[2]]
    inner = _read_leniently(body)
    try:
        for step in re.findall(r"[^.\[\]]+", path):
            inner = inner[int(step)] if isinstance(inner, list) else inner[step]
        return next((f"{path}.{key}" for key, value in inner.items() if not _is_a(value, kind)), path)
    except (LookupError, TypeError, ValueError, AttributeError):
        return path  # Cut off after the fault, or a repeated key has replaced the part that was refused.


def _is_a(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


class _NotANumber:
    """A NaN, an Infinity or a number too large for a float."""

    def __init__(self, text: str) -> None:
        self.text = text


def _read_leniently(body: bytes) -> Any:
    def parse_float(text: str) -> float | _NotANumber:
        return value if abs(value := float(text)) < float("inf") else _NotANumber(text[:40])

    def parse_int(text: str) -> int | float | _NotANumber:
        return int(text) if len(text) < 300 else parse_float(text)

    try:
        return json.loads(body, parse_constant=_NotANumber, parse_float=parse_float, parse_int=parse_int)
    except (ValueError, RecursionError):
        return None


def _walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield every scalar with its path, without recursion, since clients choose the depth."""
    stack = [("", root)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack += [(f"{path}.{key}".lstrip("."), inner) for key, inner in reversed(value.items())]
        elif isinstance(value, list):
            stack += [(f"{path}[{i}]", value[i]) for i in reversed(range(len(value)))]
        else:
            yield path, value
