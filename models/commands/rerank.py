"""Re-rank the lists of a file offline, with the code that serves them.

A service is started for it and ended afterwards, or `--url` names one that runs. Each list of the file becomes a row:
its items in their new order and what the model expects of them, or the reason why the service refused it; then the exit
status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, get_args

from tqdm import tqdm

from models.contract.spec import OBJECTIVES
from models.data.list_file import ListFile
from models.data.outputs import require_other_output
from models.data.records import Split
from models.options import LIST_FILE, check_at_least, parse_weights
from models.reranking.child import copied, serving
from models.reranking.client import Address, environment_key
from models.reranking.pool import counted, rerank_all
from models.reranking.ranked_file import write_ranked
from models.reranking.requests import encode_record
from models.reranking.warnings import WarningTally

_WINDOW: Final = 256
"""Lists that are held as records at once."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--in", dest="source", required=True, metavar="FILE", help=LIST_FILE)
    add("--out", type=Path, required=True, metavar="FILE", help="Parquet file to write: one row per list")
    which = parser.add_mutually_exclusive_group()
    text = "folder of bundles to serve (default: as listwright serve)"
    which.add_argument("--bundles", type=Path, metavar="DIR", help=text)
    which.add_argument("--bundle", type=Path, metavar="DIR", help="the one bundle to serve: the folder of its version")
    text = "a service that runs, instead of one of its own; the first of LISTWRIGHT_API_KEYS is its key"
    which.add_argument("--url", help=text)
    text = "processes of the service, or with --url connections to it (default: the CPUs)"
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help=text)
    add("--split", choices=get_args(Split), help="lists of this split only (default: all)")
    add("--limit", type=int, metavar="N", help="the first N lists only")
    add("--model", metavar="NAME", help="model (default: the service's)")
    add("--version", metavar="VERSION", help="live version of the model (default: its current one)")
    add("--objectives", type=parse_weights, metavar="A,B,G", help="α, β, γ (default: the bundle's)")
    add("--lambda", dest="trade_off", type=float, metavar="X", help="MMR's λ; 1: value only (default: the bundle's)")
    add("--window", type=int, metavar="N", help="MMR's window (default: the bundle's)")
    add("--top-n", type=int, metavar="N", help="items of each list (default: the model's list length)")
    add("--explain", action="store_true", help="explain the place of each item")


def run(arguments: argparse.Namespace) -> int:
    """Re-rank, write the file, and say how many lists were refused."""
    check_at_least(arguments, workers=1, limit=1, window=0, top_n=1)
    require_other_output("--out", arguments.out, arguments.source, arguments.bundle)
    lists = ListFile(arguments.source)
    options, tally = request_options(arguments), WarningTally()
    metadata = {"source": Path(arguments.source).name, "options": options}
    with _service(arguments) as address:
        # A second connection keeps a worker busy while the answer of the first is read.
        outcomes = rerank_all(_requests(lists, arguments, options), address, 2 * arguments.workers)
        with contextlib.closing(outcomes):
            refused = write_ranked(arguments.out, counted(outcomes, tally), metadata, explained=arguments.explain)
    for line in tally.lines("lists"):
        print(line, file=sys.stderr)
    for reason in refused.first:
        print(reason)
    if refused.count:
        print(f"{refused.count} lists were refused; the column `error` says why")
    print(arguments.out)
    return 1 if refused.count else 0


def request_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of each request beside its list."""
    weights, diversity = arguments.objectives, {"lambda": arguments.trade_off, "window": arguments.window}
    fields = {
        "model": arguments.model,
        "version": arguments.version,
        "top_n": arguments.top_n,
        "objectives": None if weights is None else dict(zip(OBJECTIVES, weights, strict=True)),
        "diversity": {name: value for name, value in diversity.items() if value is not None} or None,
        "explain": True if arguments.explain else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _requests(lists: ListFile, arguments: argparse.Namespace, options: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    windows = lists.windows(arguments.split, size=_WINDOW)
    records = islice((record for window in windows for record in window.records()), arguments.limit)
    known = None if arguments.split is not None else min(len(lists), arguments.limit or len(lists))
    for record in tqdm(records, total=known, desc="re-rank", unit="list", disable=None):
        yield record.request_id, encode_record(record, options)


@contextlib.contextmanager
def _service(arguments: argparse.Namespace) -> Iterator[Address]:
    """Find the service that is named, or serve while the context lasts. Raises `RerankError`."""
    if arguments.url is not None:
        yield Address(url=arguments.url, key=environment_key())
        return
    with tempfile.TemporaryDirectory(prefix="listwright-") as folder:
        options = [] if arguments.model is None else ["--default-model", arguments.model]
        bundles = arguments.bundles
        if arguments.bundle is not None:
            bundles = copied(arguments.bundle, Path(folder))
        if bundles is not None:
            options += ["--bundles", str(bundles)]
        with serving(options, arguments.workers) as address:
            yield address
