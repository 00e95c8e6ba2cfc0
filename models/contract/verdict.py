"""State in plain words whether a model's lists are better than a sort's.

Training finds it, a checkpoint's provenance and a bundle carry it, and `export` and the service say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from models.contract.spec import SpecError, as_mapping, check_keys, scalar

Outcome = Literal["better", "same", "worse", "sort", "unmeasured"]
"""How the model's lists did beside the sort's; "sort": nothing that was learnt is kept, so they are the sort's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Compare the model's lists with the plain sort's, on held-out lists.

    `sentence` says it in plain English; `figures` are the numbers behind it, in the form in which they were measured.
    """

    outcome: Outcome
    sentence: str
    figures: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.outcome not in get_args(Outcome):
            raise SpecError(f"verdict.outcome: must be one of {', '.join(get_args(Outcome))}, not {self.outcome!r}")
        if not self.sentence.strip():
            raise SpecError("verdict.sentence: must not be empty")

    @property
    def is_good_news(self) -> bool:
        """Tell whether the model serves own lists, known to be no worse than the sort's."""
        return self.outcome in ("better", "same")

    def to_json(self) -> dict[str, Any]:
        return {"outcome": self.outcome, "sentence": self.sentence, "figures": [dict(row) for row in self.figures]}

    @classmethod
    def from_json(cls, data: object, where: str = "verdict") -> Verdict:
        """Read `to_json`'s form. Raises `SpecError` naming the key that is wrong."""
        table = as_mapping(data, where)
        check_keys(table, {"outcome", "sentence", "figures"}, where, ("figures",))
        figures = table.get("figures", [])
        if not isinstance(figures, list):
            raise SpecError(f"{where}.figures: must be an array")
        return cls(
            outcome=cast(Outcome, scalar(table["outcome"], "str", f"{where}.outcome")),
            sentence=scalar(table["sentence"], "str", f"{where}.sentence"),
            figures=tuple(as_mapping(row, f"{where}.figures[{i}]") for i, row in enumerate(figures)),
        )


UNMEASURED: Final = Verdict(
    "unmeasured", "Whether this model's lists are better than a plain sort by the prior scores has not been measured."
)
