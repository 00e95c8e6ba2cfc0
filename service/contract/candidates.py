"""Read the candidates of a request as a table, and check them beside each other."""

from __future__ import annotations

from models.contract.candidates import CandidateTable, ObjectTable
from service.contract.problems import invalid
from service.contract.schemas import RerankRequest


def candidate_table(request: RerankRequest) -> CandidateTable:
    """Return the request's candidates as a table. Raises `Problem` (422) naming a field."""
    return ObjectTable(request.candidates)


def check_ids(table: CandidateTable) -> None:
    """Raise `Problem` (422) for an id that comes twice."""
    ids = table.ids
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for i, name in enumerate(ids):
        if (other := first.setdefault(name, i)) != i:
            raise invalid(table.path(i, "id"), f"{name!r} is also the id of {table.name(other)}")
