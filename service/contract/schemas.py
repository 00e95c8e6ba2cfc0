"""Define the request and the response of `POST /v1/rerank`, once for decoder and OpenAPI.

Types hold what can be said about one value alone; checks that take two values or a bundle are in `decoding.py` and
`plan.py`. msgspec's floats are always finite: NaN and Infinity are no JSON, and 1e999 is refused as out of range.

In a request, null means that a value is missing, wherever one may be missing. In an answer, what is missing is left out
(`UNSET`), and null is a value of its own.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field
from msgspec.structs import force_setattr

from models.contract.formulas import MAX_LENGTH
from service.contract.column_schemas import CandidateColumns
from service.contract.rule_schemas import ListRules, Shown, ShownItems
from service.contract.values import FieldValue, FieldValues, Identifier, Price, RawEmbedding

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Weight = Annotated[float, Meta(ge=0, le=1e6)]
TradeOff = Annotated[float, Meta(ge=0, le=1, description="λ: 1 is value only, 0 diversity only.")]
WindowField = Annotated[int, Meta(ge=0, le=1000, description="Number of the last chosen items that count; 0: none.")]
_FORMULA: Final = "Arithmetic over score names, price, and the weights alpha, beta, gamma: + - * / ** ( )."
_REQUEST_ID: Final = "Returned in the answer. Missing: the header x-request-id, or a new one."
RequestId = Annotated[str, Meta(min_length=1, max_length=128, description=_REQUEST_ID)]
_SOURCES: Final = "model: chosen by it; formula: placed by the score formula; input: in the order of the request."
_TIMEOUT: Final = "Deadline, from arrival. The service's own budget and the headers may make it shorter."
Timeout = Annotated[float, Meta(gt=0, le=60_000, description=_TIMEOUT)]
Version = Annotated[str, Meta(description="A live version of that model, see /v1/models. Missing: its current one.")]
PartitionField = Annotated[
    Literal["bfs", "dfs"], Meta(description="Way of dealing candidates out to queues. Missing: the bundle's.")
]
Source = Literal["model", "formula", "input"]
LateReason = Literal["deadline", "wait"]
DegradedReason = Literal[LateReason, "model-error"]
_DEGRADED: Final = (
    "deadline: the model was not done shortly before the deadline; wait: it could not have been in time, so it was not "
    "asked; model-error: it failed."
)
_RUNNER_UP: Final = (
    "Id of the second-best candidate of this step. Null: there was none, or the model returned the list of the plain "
    "sort, since it valued that higher than its own."
)

WarningProblem = Literal["missing", "unknown-values", "unknown-field", "unknown-item", "ignored-pin", "ignored-shown"]
_WARNING: Final = (
    "missing: the model or a rule has the field, but no candidate that it looked at (or the user, or the context) has "
    "it; unknown-values: over half of its values are not in the model's vocabulary; unknown-field: nothing uses it; "
    "unknown-item: candidates that the model looked at are neither in the catalogue nor have features of their own; "
    "ignored-pin: a scene's pin is no candidate here, or is left out; ignored-shown: the model has no graph for rules, "
    "so that its diversity does not count what was shown."
)
_WARNINGS: Final = (
    "What the rules and the model could not use. Absent: nothing, or LISTWRIGHT_WARNINGS is false. Where the model was "
    "not asked, rules alone are looked at."
)
MOST_WARNINGS: Final = 20
"""Most warnings of one answer."""


class Candidate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One item that may be shown."""

    id: Annotated[Identifier, Meta(description="Returned in the answer; unique in the request.")]
    scores: Annotated[
        dict[str, float | None], Meta(description="The ranking stage's estimates by name, for example ctr and cvr.")
    ]
    price: Price | None = None
    features: Annotated[
        dict[str, FieldValue] | None,
        Meta(description="Values by field name. Missing: the default; unknown: not used, and named in `warnings`."),
    ] = None
    embedding: RawEmbedding | UnsetType = UNSET
    tags: Annotated[
        dict[str, FieldValue] | None,
        Meta(description="Values for rules alone, such as a brand or a source; no model sees them."),
    ] = None


class Objectives(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Weights α, β, γ; they may not all be 0.

    A missing one takes the bundle's default. One that `/v1/models` does not list as `valued` may have no weight. A
    model with `fixed_objectives` there takes its own mix only, at any scale.
    """

    click: Annotated[Weight, Meta(description="α")] | None = None
    conversion: Annotated[Weight, Meta(description="β")] | None = None
    gmv: Annotated[Weight, Meta(description="γ")] | None = None


class Diversity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Maximal marginal relevance (MMR). A missing value takes the bundle's default."""

    trade_off: TradeOff | None = field(default=None, name="lambda")
    window: WindowField | None = None


class Queue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One objective queue: candidates in descending order of a formula."""

    name: Annotated[Name, Meta(description="Returned in explanations; unique in the request.")]
    score: Annotated[str, Meta(min_length=1, description=_FORMULA, extra_json_schema={"maxLength": MAX_LENGTH})]


Queues = Annotated[
    list[Queue], Meta(min_length=1, max_length=64, description="In priority order. Missing: the bundle's.")
]


class RerankRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Candidates to re-rank. Only `candidates` is required."""

    candidates: Annotated[
        Annotated[list[Candidate], Meta(min_length=1)] | CandidateColumns,
        Meta(description="As objects or as columns, in any order; at most LISTWRIGHT_MAX_CANDIDATES."),
    ]
    request_id: RequestId | None = None
    model: Annotated[str, Meta(description="Name of a loaded model. Missing: the default model.")] | None = None
    version: Version | None = None
    user: Annotated[FieldValues, Meta(description="User fields by name.")] = {}
    context: Annotated[FieldValues, Meta(description="Context fields by name.")] = {}
    top_n: Annotated[int, Meta(ge=1, description="Items to return. Missing: the model's list length.")] | None = None
    objectives: Objectives | None = None
    diversity: Diversity | None = None
    queues: Queues | None = None
    partition: PartitionField | None = None
    timeout_ms: Timeout | None = None
    explain: Annotated[bool, Meta(description="Explain the place of each item. Missing: false.")] | None = None
    scene: Annotated[Name, Meta(description="Name of a scene, whose settings are defaults; see /v1/scenes.")] | None = (
        None
    )
    rules: ListRules | None = None
    shown: Shown | None = None
    shown_items: ShownItems | None = None

    def __post_init__(self) -> None:
        """Put an empty object for null in the place of user or context."""
        request: Any = self  # To a type checker they are never null.
        if request.user is None:
            force_setattr(self, "user", {})
        if request.context is None:
            force_setattr(self, "context", {})

    @property
    def candidate_count(self) -> int:
        """Count the candidates."""
        candidates = self.candidates
        return len(candidates) if isinstance(candidates, list) else len(candidates.id)


class ObjectiveValues(Struct, frozen=True, gc=False):
    """One number per objective."""

    click: float
    conversion: float
    gmv: float


class PassedOver(Struct, frozen=True, gc=False):
    """A candidate in front of its queue that a rule kept from this position."""

    queue: str
    id: str
    rule: Annotated[
        str,
        Meta(
            description="Kind and place, from 0, of the rule, such as caps[0]; pinned: another item is pinned to this "
            "position, or this one to another."
        ),
    ]


class Explanation(Struct, frozen=True, gc=False):
    """Reasons for one choice of the model.

    In SORT-Gen `score` = λ · (sum of `parts`) · `boost` − `penalty`. In DeGRe it is λ · P · `boost` − `penalty`, with P
    the generator's probability of the item among those that are left; the parts are then its evaluator's.
    """

    queue: Annotated[str, Meta(description="Queue of the item.")]
    parts: Annotated[ObjectiveValues, Meta(description="Weighted share of each objective in the value of the step.")]
    penalty: Annotated[float, Meta(description="MMR: (1 − λ) · largest cosine to the items before it or shown.")]
    score: float
    runner_up: Annotated[str | None, Meta(description=_RUNNER_UP)]
    boost: Annotated[float | UnsetType, Meta(description="Product of its factors of `boosts`. Absent: none.")] = UNSET
    passed_over: Annotated[
        list[PassedOver] | UnsetType, Meta(description="Heads of queues that rules barred, at most 10. Absent: none.")
    ] = UNSET


class Item(Struct, frozen=True, gc=False):
    """One item of the list."""

    id: str
    index: Annotated[int, Meta(description="Place of the candidate in the request, from 0.")]
    position: Annotated[int, Meta(description="Place in the list, from 1.")]
    source: Annotated[Source, Meta(description=_SOURCES)]
    explanation: Explanation | UnsetType = UNSET
    pinned: Annotated[bool | UnsetType, Meta(description="true: its position is a pin's. Absent otherwise.")] = UNSET


class Degraded(Struct, frozen=True, gc=False):
    """Reason why the list is not the model's, and its origin."""

    reason: Annotated[DegradedReason, Meta(description=_DEGRADED)]
    level: Annotated[Source, Meta(description="Origin of the items: the score formula, or the order of the request.")]


class Timings(Struct, frozen=True, gc=False):
    """Milliseconds per stage.

    They add up to less than `total`, which also holds hand-over and building the answer.
    """

    decode: Annotated[float, Meta(description="From arrival until the body is read and decoded.")]
    deal: Annotated[float, Meta(description="Checking the request and dealing its candidates out to the queues.")]
    encode: Annotated[float, Meta(description="Encoding features for the model.")]
    wait: Annotated[float, Meta(description="Waiting for the engine.")]
    infer: Annotated[float, Meta(description="The engine's run, shared with the other requests of its batch.")]
    total: Annotated[float, Meta(description="From arrival until the response is built.")]
    live: (
        Annotated[float, Meta(description="Reading live values of items, where there is a source of them.")] | UnsetType
    ) = UNSET


class FieldWarning(Struct, frozen=True, gc=False):
    """A part of the request that the model, or a rule, could not use."""

    field: Annotated[
        str,
        Meta(
            description="Group (user, context, item, scores) and name, such as item.brand; or price, shown, "
            "candidates.id, or a path in rules, such as rules.caps[0].by."
        ),
    ]
    problem: Annotated[WarningProblem, Meta(description=_WARNING)]
    detail: str


class RerankResponse(Struct, frozen=True, gc=False, omit_defaults=True):
    """List of min(top_n, candidates) items: each from the request, none twice.

    Blocked and shown candidates are not counted; where all are, the list is empty.
    """

    request_id: str
    model: str
    version: str
    items: list[Item]
    value: Annotated[
        ObjectiveValues,
        Meta(description="Clicks, purchases and GMV that the model expects of its own items (source model)."),
    ]
    degraded: Degraded | None
    timings_ms: Timings
    warnings: Annotated[list[FieldWarning], Meta(description=_WARNINGS, max_length=MOST_WARNINGS)] = []
    relaxed: Annotated[
        list[str],
        Meta(description="Rules that could not be kept, by kind and place, such as floors[0]. Absent: all are kept."),
    ] = []
