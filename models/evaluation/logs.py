"""Compare orders of logged lists: as shown, by prior scores, by a running service, random.

Every list is posted with λ = 1 by default, since NDCG has no say on diversity. NDCG on logged lists credits an order
only for what was clicked or bought where it stood, so it cannot show gains that come from the list as a whole, and it
favours the order that was shown.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from models.contract.spec import OBJECTIVES
from models.data.list_file import ListFile, read_metadata
from models.data.outputs import require_other_output
from models.data.reading.stores import source_digest
from models.data.records import ListRecord, Split
from models.evaluation import scoring
from models.evaluation.client import RerankClient
from models.evaluation.scoring import ComparedOrders, Order
from models.evaluation.tables import comparison_tables
from models.files import write_json
from models.options import Weights, check_at_least, parse_seed, parse_weights
from models.reranking.warnings import WarningTally

PRIORS: Final[Mapping[str, str]] = {"click": "ctr", "conversion": "ctr*cvr", "gmv": "ctr*cvr*price"}
"""Per objective the formula that a ranking stage would sort by."""
WEIGHTS: Final = ((5.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_PATIENCE_MS: Final = 60_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="list file (Parquet)")
    add("--url", required=True, help="the service, for example http://127.0.0.1:8000")
    add("--json", type=Path, required=True, metavar="FILE", help="write the results here, list by list and summed up")
    add("--split", choices=("train", "valid", "test"), default="test", help="which lists (default: %(default)s)")
    add("--model", help="name of the model (default: the service's)")
    text = "α,β,γ; repeatable (default: 5,1,1 and each objective alone)"
    add("--objectives", action="append", type=parse_weights, metavar="A,B,G", help=text)
    add("--trade-off", type=float, default=1.0, metavar="LAMBDA", help="MMR's λ (default: %(default)s: value only)")
    add("--window", type=int, default=4, help="MMR's window (default: %(default)s)")
    text = "the sort to beat in an objective; repeatable (default: ctr, ctr*cvr, ctr*cvr*price)"
    add("--prior", action="append", type=_prior, metavar="OBJECTIVE=FORMULA", help=text)
    add("--k", type=int, default=10, help="the k of NDCG@k (default: %(default)s)")
    add("--seed", type=parse_seed, default=0, help="seed of the order that is sent and of the bootstrap (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Ask the service, write the JSON, print the tables."""
    check_at_least(arguments, k=1)
    require_other_output("--json", arguments.json, arguments.data)
    file = ListFile(arguments.data)
    count, recorded = _survey(file, arguments.split)
    if not count:
        raise ValueError(f"{arguments.data}: has no lists of split {arguments.split!r}")
    settings = _settings(arguments, recorded)
    records = tqdm(_shown(file, arguments.split), desc="re-rank", total=count, unit="list", disable=None)
    with RerankClient(arguments.url) as client:
        evaluation = _evaluate(client, records, file.metadata.get("random_order"), settings, tally := WarningTally())
    write_json(arguments.json, {"data": _describe(arguments.data, arguments.split), **evaluation})
    for line in tally.lines("answers"):
        print(line, file=sys.stderr)
    print(comparison_tables(evaluation["summary"]))
    print(f"\n{arguments.json}")
    return 0


@dataclasses.dataclass(frozen=True)
class _Settings:
    """Hold the settings of requests; `objectives` has each served order's α, β, γ."""

    objectives: Mapping[str, Weights]
    priors: Mapping[str, str]
    model: str | None
    trade_off: float
    window: int
    k: int
    seed: int

    @property
    def comparison(self) -> ComparedOrders:
        return ComparedOrders(tuple(self.objectives), {o: prior_name(f) for o, f in self.priors.items()})

    def request(self, weights: Weights) -> dict[str, Any]:
        """Return the request's fields beside its list, with a long deadline."""
        return {
            **({} if self.model is None else {"model": self.model}),
            "objectives": dict(zip(OBJECTIVES, weights, strict=True)),
            "diversity": {"lambda": self.trade_off, "window": self.window},
            "timeout_ms": _PATIENCE_MS,
        }


def served_name(weights: Weights) -> str:
    """Name the order that the service gives for α, β, γ."""
    return "served " + "/".join(f"{w:g}" for w in weights)


def prior_name(formula: str) -> str:
    """Name the sort by a formula of prior scores."""
    return f"sort by {formula}"


def _shown(file: ListFile, split: Split) -> Iterator[ListRecord]:
    """Read the lists of a split that show anything, as records."""
    return (record for window in file.windows(split) for record in window.records() if record.exposed)


def _survey(file: ListFile, split: Split) -> tuple[int, dict[str, bool]]:
    """Count the lists of a split that show anything; tell which objectives they record."""
    count, recorded = 0, np.zeros(len(OBJECTIVES), bool)
    for window in file.windows(split, embeddings=False):
        showing = window.shown_counts > 0
        count += int(showing.sum())
        recorded |= window.observed[showing].any(axis=0)
    return count, dict(zip(OBJECTIVES, recorded.tolist(), strict=True))


def _settings(arguments: argparse.Namespace, recorded: Mapping[str, bool]) -> _Settings:
    priors = {**PRIORS, **dict(arguments.prior or [])}
    return _Settings(
        objectives={served_name(w): w for w in arguments.objectives or WEIGHTS},
        priors={name: formula for name, formula in priors.items() if recorded[name]},
        **{name: getattr(arguments, name) for name in ("model", "trade_off", "window", "k", "seed")},
    )


def _evaluate(
    client: RerankClient,
    records: Iterable[ListRecord],
    shuffled: Sequence[str] | None,
    settings: _Settings,
    tally: WarningTally,
) -> dict[str, Any]:
    asked, results = _Asked(), []
    known = None if shuffled is None else set(shuffled)
    for record in records:
        orders = dict(_orders(client, record, settings, asked, tally))
        in_random_order = None if known is None else record.request_id in known
        results.append(scoring.score_list(record, orders, k=settings.k, shuffled=in_random_order))
    return {
        **dataclasses.asdict(settings),
        "comparison": dataclasses.asdict(settings.comparison),
        "served_by": dataclasses.asdict(asked),
        "warnings": tally.to_json(),
        "summary": scoring.summarise(results, settings.comparison, seed=settings.seed),
        "lists": [dataclasses.asdict(result) for result in results],
    }


@dataclasses.dataclass
class _Asked:
    """Count requests and the places that the model filled, others being past its horizon.

    `bypassed` requests were given the sort's list without the model: nothing of what it learnt is kept for their
    objectives. They count among `requests`, and their places among none.
    """

    model: str = ""
    version: str = ""
    requests: int = 0
    bypassed: int = 0
    places: int = 0
    by_model: int = 0


def _orders(
    client: RerankClient, record: ListRecord, settings: _Settings, asked: _Asked, tally: WarningTally
) -> Iterator[tuple[str, Order]]:
    start = scoring.neutral_order(record, seed=settings.seed)
    for formula in settings.priors.values():
        yield prior_name(formula), scoring.sorted_order(record, formula, start)
    for name, weights in settings.objectives.items():
        ranking = client.rerank(scoring.request_body(record, start, settings.request(weights)))
        if asked.requests and (asked.model, asked.version) != (ranking.model, ranking.version):
            raise ValueError(f"list {record.request_id!r}: the service's model changed to {ranking.version}")
        asked.model, asked.version = ranking.model, ranking.version
        asked.requests += 1
        tally.add(ranking.warnings)
        asked.bypassed += not ranking.by_model
        asked.places += len(start) if ranking.by_model else 0
        asked.by_model += ranking.by_model
        yield name, start[ranking.order]


def _describe(path: Path, split: str) -> dict[str, Any]:
    metadata = {key: value for key, value in read_metadata(path).items() if key != "random_order"}
    return {"file": path.name, "sha256": source_digest(path), "split": split, "metadata": metadata}


def _prior(text: str) -> tuple[str, str]:
    objective, equals, formula = text.partition("=")
    if objective not in OBJECTIVES or not (equals and formula):
        raise argparse.ArgumentTypeError(f"must be OBJECTIVE=FORMULA with one of {', '.join(OBJECTIVES)}, not {text!r}")
    return objective, formula
