"""Make seeded request bodies, serialised once, and check the lists that answer them.

Requests come from a list file (real candidates) or from a bundle's feature spec (`loadtest.requests.fake`). Each
payload knows what a valid answer to it must hold: ``min(top_n, candidates)`` ids, none twice.
"""

from __future__ import annotations

import itertools
import json
import random
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from loadtest.requests.fake import FakeItems, FakeRequests
from loadtest.requests.forms import FORMS, NUMBERS, Form, Numbers, in_form, parse_form, parse_numbers
from loadtest.requests.items import DEFAULT_ITEMS
from models.contract.manifest import MANIFEST_FILE, Manifest

if TYPE_CHECKING:
    from models.data.records import Candidate, ListRecord  # pyarrow is not among what serving installs

RequestBody = dict[str, Any]
RequestSource = Callable[[int], RequestBody]
"""Number of candidates to a request with only the fields that describe user, context and candidates."""

DEFAULT_CANDIDATES: Final = 100
MIX: Final[Mapping[int, float]] = {20: 0.15, 50: 0.25, 100: 0.4, 300: 0.15, 1000: 0.05}
"""Candidates of a request to the share of requests that have so many, for ``--mix default``."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Payload:
    """One request body, whose answer must hold `expected` items, all of them from `ids`."""

    body: bytes
    ids: tuple[str, ...]
    expected: int


@dataclass(frozen=True, kw_only=True)
class PayloadOptions:
    """Options of payloads: `sizes` maps candidates to shares, `extra` goes into every body.

    Requests come as objects; `form` and `numbers` say what is made of their candidates.
    """

    count: int = 64
    sizes: Mapping[int, float] = field(default_factory=lambda: {DEFAULT_CANDIDATES: 1.0})
    top_n: int = 10
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    form: Form = "objects"
    numbers: Numbers = "base64"

    def __post_init__(self) -> None:
        if self.count < 1 or self.top_n < 1:
            raise ValueError("count and top_n: must be at least 1")
        if not self.sizes or min(self.sizes) < 1 or min(self.sizes.values()) < 0 or sum(self.sizes.values()) <= 0:
            raise ValueError(f"sizes: must map candidates (at least 1) to weights with a positive sum: {self.sizes}")


def parse_mix(text: str) -> dict[int, float]:
    """Read ``"20=1,100=3"`` as ``{20: 1.0, 100: 3.0}``, ``"default"`` as `MIX`. Raises `ValueError`."""
    if text == "default":
        return dict(MIX)
    sizes: dict[int, float] = {}
    for part in text.split(","):
        size, _, weight = part.partition("=")
        try:
            sizes[int(size)] = float(weight or 1)
        except ValueError:
            raise ValueError(f"mix: {part!r} is not SIZE=WEIGHT, as in 20=1,100=3") from None
    return sizes


def make_payloads(source: RequestSource, options: PayloadOptions) -> list[Payload]:
    """Make `options.count` payloads, each size at its share to the nearest request."""
    payloads = []
    for i, n in enumerate(_sizes(options)):
        request = source(n)
        ids = tuple(c["id"] for c in request["candidates"])
        request["candidates"] = in_form(request["candidates"], options.form, options.numbers)
        body = _encode({"request_id": f"load-{i}", **request, "top_n": options.top_n, **options.extra})
        payloads.append(Payload(body, ids, min(options.top_n, len(ids))))
    return payloads


def _sizes(options: PayloadOptions) -> list[int]:
    # Systematic rather than random draws: a 5% share of a thousand candidates decides p99 and must not vary by luck.
    sizes = list(options.sizes)
    reached = np.cumsum([options.sizes[n] for n in sizes])
    marks = (np.arange(options.count) + 0.5) / options.count * reached[-1]
    drawn = [sizes[i] for i in np.searchsorted(reached, marks)]
    random.Random(options.seed).shuffle(drawn)
    return drawn


def only_bundle(root: Path) -> Path:
    """Return the one bundle folder under ``root/<name>/<version>``. Raises `ValueError` for none or several."""
    found = sorted(path.parent for path in root.glob(f"**/{MANIFEST_FILE}"))
    if len(found) != 1:
        names = ", ".join(map(str, found)) or "none"
        raise ValueError(f"--bundle: say which bundle's requests to make; under {root} there are: {names}")
    return found[0]


def from_bundle(folder: Path, *, seed: int, embedding_width: int = 0, items: int = 0) -> RequestSource:
    """Make up requests for the spec in ``folder/bundle.json``, to its model by name.

    Their candidates are drawn from so many `items`, or made up each time. Raises `models.contract.spec.SpecError`.
    """
    manifest = Manifest.read(folder)
    pool = FakeItems(manifest.spec, items, seed=seed, embedding_width=embedding_width) if items else None
    fake = FakeRequests(manifest.spec, seed=seed, embedding_width=embedding_width, items=pool)
    return lambda candidates: {"model": manifest.name, **fake.request(candidates)}


def from_lists(path: Path, *, seed: int, embeddings: bool = False) -> RequestSource:
    """Make requests with users and candidates of a list file, in seeded order.

    A request of n candidates is one record's user and candidates, filled up with other records' candidates where it
    has fewer. Needs pyarrow. Raises `models.data.records.ListFileError`, or `ValueError` if the file has too few items.
    """
    from models.data.list_file import read_lists

    records = list(read_lists(path))
    pool = {c.id: c for record in records for c in record.candidates}
    ids, rng = sorted(pool), random.Random(seed)
    rng.shuffle(records)
    turns = itertools.cycle(records)

    def request(candidates: int) -> RequestBody:
        if candidates > len(ids):
            raise ValueError(f"{path}: has {len(ids)} different items, fewer than the {candidates} asked for")
        record = next(turns)
        chosen = {c.id: c for c in record.candidates[:candidates]}
        while len(chosen) < candidates:
            item = rng.choice(ids)
            chosen.setdefault(item, pool[item])
        return record_json(record, chosen.values(), embeddings=embeddings)

    return request


def record_json(record: ListRecord, candidates: Iterable[Candidate], *, embeddings: bool) -> RequestBody:
    """Return a list record with these candidates in the form of a request."""
    listed = [_candidate_json(c, embedding=embeddings) for c in candidates]
    return {"user": dict(record.user), "context": dict(record.context), "candidates": listed}


def _candidate_json(candidate: Candidate, *, embedding: bool) -> RequestBody:
    table: RequestBody = {"id": candidate.id, "scores": dict(candidate.scores), "features": dict(candidate.features)}
    if candidate.price is not None:
        table["price"] = candidate.price
    if embedding and candidate.embedding is not None:
        table["embedding"] = list(candidate.embedding)
    return table


class _RankedItem(msgspec.Struct):
    id: str
    index: int
    position: int


class _RankedList(msgspec.Struct):
    items: list[_RankedItem]


_decode = msgspec.json.Decoder(_RankedList).decode


def list_problem(payload: Payload, answer: bytes) -> str | None:
    """Return the fault of an answer in a few words that group, or None."""
    try:
        items = _decode(answer).items
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return f"is not a response: {error}"
    if len(items) != payload.expected:
        return f"has {len(items)} items instead of {payload.expected}"
    if len({item.id for item in items}) != len(items):
        return "has an id twice"
    first = items[0].position if items else 0
    for place, item in enumerate(items):
        if not 0 <= item.index < len(payload.ids) or payload.ids[item.index] != item.id:
            return "has an id that is not the request's at its index"
        if item.position - first != place:
            return "has positions that do not count up"
    return None


PAYLOAD_OPTIONS: Final[dict[str, tuple[Any, str]]] = {
    "bundle": ("", "bundle folder; its feature spec says what requests look like"),
    "lists": ("", "list file (Parquet); its real candidates are sent instead"),
    "candidates": (DEFAULT_CANDIDATES, f"candidates of a request ({DEFAULT_CANDIDATES})"),
    "mix": ("", "sizes and weights, as in 20=1,100=3, or 'default'; overrules --candidates"),
    "embedding-width": (0, "send made-up embeddings of this width (0: none); any width sends a list file's own"),
    "form": ("objects", f"form of candidates: {', '.join(FORMS)}; the last names items of the service's catalogue"),
    "numbers": ("base64", f"numbers of columns: {' or '.join(NUMBERS)}"),
    "items": (0, f"draw candidates from so many items (0: made up each time; {DEFAULT_ITEMS} for a catalogue)"),
    "payloads": (64, "different requests to prepare (64)"),
    "top-n": (10, "items asked for (10)"),
    "extra": ("{}", """JSON object merged into every request, as in '{"diversity": {"lambda": 0.8}}'"""),
    "seed": (0, "seed of everything random (0)"),
}
"""Option name to default and help; the type is the default's."""


def add_payload_options(parser: ArgumentParser) -> None:
    """Add `PAYLOAD_OPTIONS` to a parser (argparse's or locust's)."""
    group = parser.add_argument_group("payloads")
    for name, (default, text) in PAYLOAD_OPTIONS.items():
        group.add_argument(f"--{name}", type=type(default), default=default, help=text.replace("%", "%%"))


def payloads_from(options: Namespace) -> list[Payload]:
    """Make the payloads of the options. Raises `ValueError` naming a wrong one."""
    settings = PayloadOptions(
        count=options.payloads,
        sizes=parse_mix(options.mix) if options.mix else {options.candidates: 1.0},
        top_n=options.top_n,
        seed=options.seed,
        extra=_json_object(options.extra),
        form=parse_form(options.form),
        numbers=parse_numbers(options.numbers),
    )
    width, items = options.embedding_width, items_from(options)
    if options.lists:
        source = from_lists(Path(options.lists), seed=options.seed, embeddings=width > 0)
    elif options.bundle:
        source = from_bundle(Path(options.bundle), seed=options.seed, embedding_width=width, items=items)
    else:
        raise ValueError("--bundle or --lists: one is needed, to know what a request looks like")
    return make_payloads(source, settings)


def items_from(options: Namespace) -> int:
    """Return how many items candidates are drawn from. Raises `ValueError`.

    0: they are made up each time.
    """
    if options.items < 0:
        raise ValueError(f"--items: must be at least 0, not {options.items}")
    if options.form == "catalogue" and vars(options).get("lists"):
        raise ValueError("--form catalogue: its items are made up, so it does not go with --lists")
    return options.items or (DEFAULT_ITEMS if options.form == "catalogue" else 0)


def _json_object(text: str) -> dict[str, object]:
    try:
        table = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--extra: is not valid JSON: {error}") from None
    if not isinstance(table, dict):
        raise ValueError("--extra: must be a JSON object")
    return table
