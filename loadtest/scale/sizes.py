"""Measure the sizes and costs that the plan needs and no other page has.

Bytes on the wire and samples of a scrape come from a real service with the embedded bundle; bytes of lists and the time
to encode them from lists of the simulator. Times are the CPU time of this thread, the least of a few rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Final

from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads
from loadtest.rig.machine import made_with
from loadtest.rig.server import running_server
from loadtest.scale.markdown import number, table
from models.cli import main as listwright
from models.contract.manifest import EMBEDDED_BUNDLES
from models.data.batches import ListArrays
from models.data.fit_spec import SpecFitter
from models.data.list_file import ListFile
from models.data.list_splits import ListSplits

_PLACES: Final = 10
_HASHED: Final = 64 << 20
_OPTIONS: Final = ("--workers", "2", "--budget-ms", "30000")


def main() -> int:
    """Print a table of what was measured."""
    parser = argparse.ArgumentParser("python -m loadtest.scale.sizes", description=__doc__)
    parser.add_argument("--requests", type=int, default=64, help="requests to send (default: %(default)s)")
    parser.add_argument("--lists", type=int, default=20_000, help="lists to encode (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each timing (default: %(default)s)")
    options = parser.parse_args()
    print(f"{made_with(0)}\n")
    rows = [*wire_rows(options.requests), *list_rows(options.lists, options.rounds)]
    block = bytes(_HASHED)
    rows.append(("SHA-256", f"{number(_HASHED / least(lambda: hashlib.sha256(block), options.rounds) / 1e6)} MB/s"))
    print(table(("", "measured"), rows))
    return 0


def wire_rows(requests: int) -> Iterator[tuple[str, str]]:
    """Count the bytes of requests to a service, and the samples of a scrape."""
    payloads = make_payloads(from_bundle(EMBEDDED_BUNDLES / "demo" / "1", seed=0), PayloadOptions(count=requests))
    with running_server(EMBEDDED_BUNDLES, options=_OPTIONS) as server:
        found = [exchange(server.url, payload.body) for payload in payloads]
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as response:
            samples = sum(bool(line) and not line.startswith(b"#") for line in response.read().splitlines())
    yield "head of a request", f"{number(fmean(head for head, _ in found))} B"
    yield "answer of 10 items with its head", f"{number(fmean(answer for _, answer in found))} B"
    yield "samples of a scrape, one bundle, two workers", number(samples)


def exchange(url: str, body: bytes) -> tuple[int, int]:
    """Send one request and return the bytes of its head and of the answer.

    Raises `ValueError` if it is no list.
    """
    place = urllib.parse.urlsplit(url)
    head = (
        f"POST /v1/rerank HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode()
    answer = b""
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(head + body)
        while piece := connection.recv(65_536):
            answer += piece
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"no list: {answer[:200]!r}")
    return len(head), len(answer)


def list_rows(lists: int, rounds: int) -> Iterator[tuple[str, str]]:
    """Write lists of 100 and of 20 candidates, and encode the latter."""
    with TemporaryDirectory(prefix="listwright-sizes-") as name:
        folder = Path(name)
        few = max(1, lists // 5)
        yield "a list of 100 candidates on disk", f"{number(_written(folder, few, 100).stat().st_size / few)} B"
        path = _written(folder, lists, 20)
        yield "a list of 20 candidates on disk", f"{number(path.stat().st_size / lists)} B"
        seconds = least(lambda: encoded(path, folder), rounds)
        yield "reading, fitting and encoding a list of 20", f"{number(seconds / lists * 1e6)} µs"
        yield "arrays of a list of 10 shown items", f"{number(array_bytes(encoded(path, folder)))} B"


def _written(folder: Path, lists: int, candidates: int) -> Path:
    path = folder / f"{candidates}.parquet"
    drawn = ["--lists", str(lists), "--candidates", str(candidates), "--length", str(_PLACES), "--seed", "0"]
    if listwright(["data", "simulator", *drawn, "-o", str(path), "--quiet"]):
        raise ValueError("the lists could not be drawn")
    return path


def encoded(path: Path, folder: Path) -> ListArrays:
    """Read lists as a training does: one pass fits the spec, one makes arrays."""
    fitter = SpecFitter()
    splits = ListSplits.read(ListFile(path), fitter)
    return splits.encode(fitter.fit(), _PLACES, {"all": ["train", "valid", "test"]}, folder, embeddings=False)["all"]


def array_bytes(arrays: ListArrays) -> float:
    """Return the bytes that arrays take for one list."""
    kept = (*arrays.features.values(), arrays.labels, arrays.observed, arrays.lengths)
    return sum(array.nbytes for array in kept) / len(arrays)


def least(work: Callable[[], object], rounds: int) -> float:
    """Return the least CPU seconds of a few rounds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


if __name__ == "__main__":
    raise SystemExit(main())
