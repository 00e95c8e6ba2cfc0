"""Decode and check a request's body, or raise a problem that names the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from models.contract.candidates import CandidateTable
from service.contract.candidates import check_ids
from service.contract.cost import MOST_FIELDS, cost_over
from service.contract.problems import invalid
from service.contract.refusals import check_utf8, refusal, too_many_fields
from service.contract.rule_checks import NOTHING_INHERITED, Inherited, check_rules
from service.contract.schemas import Queue, RerankRequest

_decode: Final = msgspec.json.Decoder(RerankRequest).decode
_MOST_FORMULA_TEXT: Final = 4096  # Compiling and computing so much takes some 30 ms for 2,000 candidates.


def decode_request(body: bytes, *, most_fields: int = MOST_FIELDS) -> RerankRequest:
    """Decode the request in `body`, which may count `most_fields` (see `cost.py`).

    Raises `Problem`: 400 for what is no JSON, else 422.
    """
    if count := cost_over(body, most_fields):
        raise too_many_fields(body, count, most_fields)
    try:
        check_utf8(body)
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(error, body) from None


def check_request(
    request: RerankRequest,
    candidates: CandidateTable,
    *,
    max_candidates: int,
    inherited: Inherited = NOTHING_INHERITED,
) -> None:
    """Raise `Problem` (422) naming the first field that contradicts another or passes a limit."""
    if len(candidates) > max_candidates:
        raise invalid("candidates", f"has {len(candidates)} candidates; at most {max_candidates} are allowed")
    check_ids(candidates)
    if request.queues is not None:
        check_queues(request.queues)
    if request.rules is not None or request.shown_items is not None:
        check_rules(request, candidates, inherited)


def check_queues(queues: Sequence[Queue]) -> None:
    """Raise `Problem` (422) if names repeat or formulas are too long in all."""
    length = sum(len(queue.score) for queue in queues)
    if length > _MOST_FORMULA_TEXT and len(queues) > 1:  # One that is too long alone has an error of its own.
        raise invalid(
            "queues", f"have formulas of {length} characters in all; at most {_MOST_FORMULA_TEXT} are allowed"
        )
    names = [queue.name for queue in queues]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise invalid(f"queues[{i}].name", f"{name!r} is also the name of queues[{names.index(name)}]")
