"""List files that are legal and odd: one change to a clean log for each warning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.contract.scalars import Scalar
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListRecord
from models.datasets import simulated_logs
from models.datasets.simulator import SimulatorConfig

Records = Sequence[ListRecord]
LISTS = 300


@cache
def clean() -> tuple[ListRecord, ...]:
    """A small log of the simulator, in which nothing is odd."""
    config = SimulatorConfig(candidates=8, items=200, users=200)
    return tuple(simulated_logs.load(config, seed=0, lists=LISTS, length=4).records)


def each(change: Callable[[int, ListRecord], ListRecord]) -> list[ListRecord]:
    """The clean log with every list changed."""
    return [change(i, record) for i, record in enumerate(clean())]


def items(change: Callable[[int, Candidate], Candidate]) -> list[ListRecord]:
    """The clean log with every candidate changed; the function gets its place in the list."""
    return each(lambda _, r: replace(r, candidates=tuple(change(i, c) for i, c in enumerate(r.candidates))))


def user(value: Callable[[int], Scalar], name: str = "extra") -> list[ListRecord]:
    """The clean log with one more field of the user."""
    return each(lambda i, r: replace(r, user={**r.user, name: value(i)}))


def scores(change: Callable[[dict[str, float]], dict[str, float]]) -> list[ListRecord]:
    """The clean log with other scores."""
    return items(lambda _, c: replace(c, scores=change(dict(c.scores))))


def shown(count: int, record: ListRecord) -> ListRecord:
    """The list cut to its first items shown."""
    labels: dict[str, Any] = {n: getattr(record, n)[:count] for n in ("exposed", "clicks", "purchases", "gmv")}
    return replace(record, **labels)


def sorted_by_ctr(record: ListRecord) -> ListRecord:
    """The list as if it had been shown by descending ctr."""
    order = sorted(range(len(record.candidates)), key=lambda i: -record.candidates[i].scores["ctr"])
    return replace(record, exposed=tuple(order[: len(record.exposed)]))


def longer(record: ListRecord, times: int) -> ListRecord:
    """The list with all its candidates several times over under new ids, all of them shown."""
    many = tuple(replace(c, id=f"{c.id}-{k}") for k in range(times) for c in record.candidates)
    zeros = (0,) * len(many)
    return replace(
        record, candidates=many, exposed=tuple(range(len(many))), clicks=(1, *zeros[1:]), purchases=zeros, gmv=zeros
    )


def first(count: int, change: Callable[[ListRecord], ListRecord]) -> list[ListRecord]:
    """The clean log with its first lists changed."""
    return each(lambda i, r: change(r) if i < count else r)


def without_split(split: str) -> list[ListRecord]:
    """The clean log without the lists of a split."""
    return [record for record in clean() if record.split != split]


def zeros(record: ListRecord) -> tuple[int, ...]:
    """Labels of a list in which nothing happened."""
    return (0,) * len(record.exposed)


def clicked_first(record: ListRecord) -> ListRecord:
    """The list with a click on its first item at least."""
    return replace(record, clicks=(1, *record.clicks[1:]))


ODDITIES: dict[str, Callable[[], Records]] = {
    "nothing-shown": lambda: each(lambda _, r: shown(0, r)),
    "lists-with-nothing-shown": lambda: first(3, lambda r: shown(0, r)),
    "one-item-shown": lambda: first(160, lambda r: shown(1, r)),
    "all-candidates-shown": lambda: each(
        lambda _, r: replace(r, candidates=tuple(r.candidates[i] for i in r.exposed), exposed=(0, 1, 2, 3))
    ),
    "first-candidate-never-shown": lambda: each(lambda _, r: replace(r, exposed=(5, 2, 7, 3))),
    "deterministic-exposure": lambda: each(lambda _, r: sorted_by_ctr(r)),
    "shown-lengths-skewed": lambda: first(2, lambda r: longer(r, 4)),
    "candidate-lengths-skewed": lambda: first(1, lambda r: shown(4, longer(r, 20))),
    "no-train-lists": lambda: without_split("train"),
    "no-valid-lists": lambda: without_split("valid"),
    "no-test-lists": lambda: without_split("test"),
    "users-in-train-and-test": lambda: user(lambda i: f"u{i % 7}", "user_id"),
    "repeated-requests": lambda: [*clean(), replace(clean()[5], request_id="again")],
    "no-clicks": lambda: each(lambda _, r: replace(r, clicks=zeros(r), purchases=zeros(r), gmv=zeros(r))),
    "lists-without-click": lambda: first(260, lambda r: replace(r, clicks=zeros(r), purchases=zeros(r), gmv=zeros(r))),
    "every-list-clicked": lambda: each(lambda _, r: clicked_first(r)),
    "no-purchases": lambda: each(lambda _, r: replace(r, purchases=None, gmv=None)),
    "purchases-partly-recorded": lambda: first(3, lambda r: replace(r, purchases=None)),
    "purchases-never-happen": lambda: each(lambda _, r: replace(r, purchases=zeros(r), gmv=zeros(r))),
    "purchases-without-click": lambda: first(3, lambda r: replace(r, clicks=zeros(r), purchases=(1, 0, 0, 0))),
    "no-gmv": lambda: each(lambda _, r: replace(r, gmv=None)),
    "gmv-all-zero": lambda: each(lambda _, r: replace(r, gmv=zeros(r))),
    "purchases-without-gmv": lambda: first(150, lambda r: replace(r, gmv=zeros(r))),
    "gmv-without-purchase": lambda: first(1, lambda r: replace(r, purchases=zeros(r), gmv=(5.0, 0.0, 0.0, 0.0))),
    "no-scores": lambda: scores(lambda _: {}),
    "no-ctr": lambda: scores(lambda s: {"pctr": s["ctr"]}),
    "scores-not-named-ctr-or-cvr": lambda: scores(lambda s: {**s, "relevance": s["ctr"] / 2}),
    "no-cvr": lambda: scores(lambda s: {"ctr": s["ctr"]}),
    "scores-outside-unit": lambda: scores(lambda s: {**s, "ctr": 100 * s["ctr"]}),
    "score-missing": lambda: items(lambda i, c: c if i else replace(c, scores={"cvr": c.scores["cvr"]})),
    "no-prices": lambda: items(lambda _, c: replace(c, price=None)),
    "prices-zero": lambda: items(lambda i, c: c if i < 2 else replace(c, price=0.0)),
    "field-hashed": lambda: user(lambda i: f"u{i}", "user_id"),
    "codes-read-as-numbers": lambda: user(lambda i: i % 5, "segment"),
    "numbers-rounded": lambda: user(lambda i: 2**54 * i, "signature"),
    "field-not-read": lambda: each(
        lambda i, r: r if r.split == "train" else replace(r, user={**r.user, "late": f"v{i % 2}"})
    ),
    "values-outside-vocabulary": lambda: first(60, lambda r: replace(r, user={**r.user, "town": r.request_id})),
    "numbers-as-text": lambda: user(lambda i: str(i % 5), "age"),
    "values-alike": lambda: user(lambda i: ("Paris", " paris", "Rome")[i % 3]),
    "missing-as-text": lambda: user(lambda i: ("a", "NaN", "b")[i % 3]),
    "mostly-missing": lambda: user(lambda i: i / 7 if i % 3 == 0 else None),
    "no-values": clean,
    "constant-fields": lambda: user(lambda _: "always"),
    "no-item-features": lambda: items(lambda _, c: replace(c, features={})),
}
"""Warning to a log that gets it, once `write_odd` has written it."""


def write_odd(code: str, path: Path) -> None:
    """Write the list file that gets a warning."""
    write_lists(path, ODDITIES[code](), {})
    if code == "no-values":  # Records cannot say that a field is there and always empty.
        table = pq.read_table(path)
        users = table["user"].combine_chunks()
        names = [field.name for field in users.type]
        empty = pa.StructArray.from_arrays([pa.nulls(len(users), field.type) for field in users.type], names)
        pq.write_table(table.set_column(table.schema.get_field_index("user"), "user", empty), path)
