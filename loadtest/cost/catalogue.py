"""Measure what a large catalogue of items costs: opening it, looking items up, and memory.

Made-up items are written straight to the files of a catalogue. This process opens it first; a second one is measured,
as a second worker of a service would be: what it adds are its anonymous pages, since mapped ones are shared. Times are
medians with the files in the page cache.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import numpy as np

from loadtest.cost.catalogue_items import SPEC, item_ids, write_synthetic
from loadtest.rig.subject import Measured, command_parser, markdown, run_command
from models.contract.arrays import Ints
from models.contract.candidates import ObjectTable
from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.gather import Known
from models.contract.catalogue.manifest import CatalogueManifest
from models.contract.features import Encoder
from models.contract.layers import LayeredTable
from models.data.records import Candidate

TARGETS: Final[Mapping[str, float]] = {
    "open, ms": 1000.0,
    "anonymous memory of a second process, MiB": 50.0,
    "1,000 lookups, ms": 0.3,
}
"""Figure to the limit that it must stay under. Lookups hash the ids."""

_MEMORY: Final = {"Anonymous": "anonymous", "Private_Dirty": "private dirty"}
_REQUESTS: Final = 32
_CANDIDATES: Final = 1000
_ENCODED: Final = 30

T = TypeVar("T")


def probe(folder: Path, repeats: int, seed: int) -> dict[str, float]:
    """Measure all figures in this process. To encode, ids are looked up, too."""
    manifest = CatalogueManifest.read(folder)
    random = np.random.default_rng(seed)
    # Made before memory is looked at: ids are a request's, not the catalogue's.
    many = [item_ids(random.integers(0, manifest.items, _CANDIDATES).tolist()) for _ in range(_REQUESTS)]
    few = [ids[:_ENCODED] for ids in many]
    before = _memory()
    opening = _median_ms(lambda _: Catalogue(manifest, folder), [None], 5)
    catalogue = Catalogue(manifest, folder)
    found = {"open, ms": opening, "1,000 lookups, ms": _median_ms(catalogue.locate, many, repeats)}
    after = _memory()
    for key, name in _MEMORY.items():
        found[f"{name} memory of a second process, MiB"] = (after[key] - before[key]) / 1024
    found["30 lookups, ms"] = _median_ms(catalogue.locate, few, repeats)
    numbers = [catalogue.locate(ids) for ids in few]
    found["gather 30 items, ms"] = _median_ms(lambda rows: _gather(catalogue, rows), numbers, repeats)
    encoder, requests = Encoder(SPEC), [_request(ids) for ids in many]
    encode = lambda request: _encode(catalogue, encoder, request)  # noqa: E731
    found["encode 30 of 1,000 candidates, ms"] = _median_ms(encode, requests, repeats)
    return found


def run(options: argparse.Namespace) -> Measured:
    """Write the catalogue, open it here, and measure in a second process."""
    with TemporaryDirectory(prefix="catalogue-", dir=options.folder) as name:
        start = time.perf_counter()
        manifest = write_synthetic(Path(name) / "1", options.items, options.width, options.seed)
        seconds = time.perf_counter() - start
        first = Catalogue(manifest, Path(name) / "1")
        with ProcessPoolExecutor(1, get_context("spawn")) as second:
            found = second.submit(probe, first.folder, options.repeats, options.seed).result()
        size = sum(path.stat().st_size for path in Path(name).rglob("*.npy"))
    faults = [key for key, limit in TARGETS.items() if found[key] >= limit]
    rows = [(key, f"< {TARGETS[key]:g}" if key in TARGETS else "–", f"{value:.3f}") for key, value in found.items()]
    head = (
        f"{options.items:,} items, embeddings of {options.width}: {size / 2**20:,.0f} MiB, written in {seconds:.0f} s"
    )
    figures = {"items": options.items, "width": options.width, "figures": found, "missed": faults}
    verdict = f"verdict: missed: {'; '.join(faults)}" if faults else "verdict: all targets met"
    return f"{head}\n\n{markdown(('', 'target', 'measured'), rows)}\n\n{verdict}", figures


def _request(ids: Sequence[str]) -> list[Candidate]:
    """Make candidates that have ids and scores only."""
    return [Candidate(name, {"ctr": 0.1, "cvr": 0.01}) for name in ids]


def _gather(catalogue: Catalogue, numbers: Ints) -> list[Any]:
    known = Known(catalogue.segments, numbers)
    return [known.columns, known.numbers, known.prices, known.embeddings]


def _encode(catalogue: Catalogue, encoder: Encoder, candidates: Sequence[Candidate]) -> object:
    own = ObjectTable(candidates)
    slots = np.arange(0, _CANDIDATES, _CANDIDATES // _ENCODED)[:_ENCODED]
    return encoder.encode_slots(LayeredTable(own, [catalogue.layer(own.ids, encoder)]), slots)


def _median_ms(use: Callable[[T], object], inputs: Sequence[T], repeats: int) -> float:
    """Time so many calls, with one input after the other, and return the median."""
    times = []
    for i in range(repeats):
        start = time.perf_counter()
        use(inputs[i % len(inputs)])
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def _memory() -> dict[str, int]:
    """Read this process' memory in KiB. Raises `OSError` where the system does not tell."""
    lines = Path("/proc/self/smaps_rollup").read_text("utf-8").splitlines()[1:]
    return {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}


def main(argv: Sequence[str] | None = None) -> int:
    """Print table and verdict; exit with 1 for a missed target, 2 without a run."""
    served = ("--bundles", "--bundle", "--candidates", "--serve-options", "--cpus")
    parser = command_parser("loadtest.cost.catalogue", __doc__, without=served)
    add = parser.add_argument
    add("--items", type=int, default=1_000_000, help="items of the catalogue (1000000)")
    add("--width", type=int, default=64, help="numbers of an embedding, 0 for none (64)")
    add("--repeats", type=int, default=1000, help="calls of each kind (1000)")
    add("--folder", type=Path, help="folder for the files while they are needed (the system's for temporary files)")
    return run_command(parser, argv, run)


if __name__ == "__main__":
    raise SystemExit(main())
