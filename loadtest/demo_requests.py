"""Write the demo's requests: held-out ones of a list file, ordered by `ctr`.

``python -m loadtest.demo_requests data/demo.parquet`` writes ``demo_requests.json`` beside it; see ``make train-demo``.
The simulator draws each list on its own, so a file of its first 300 lists gives the same requests.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from loadtest.requests.payloads import record_json

DEMO_REQUESTS: Final = Path(__file__).with_name("demo_requests.json")


def read_demo_requests(path: Path = DEMO_REQUESTS) -> list[dict[str, Any]]:
    """Read the committed requests, without weights and options."""
    return msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file; the exit status is 0."""
    from models.data.list_file import read_lists  # pyarrow is not among what the demo installs

    parser = argparse.ArgumentParser(prog="python -m loadtest.demo_requests", description=__doc__)
    parser.add_argument("lists", type=Path, help="list file (Parquet)")
    parser.add_argument("--count", type=int, default=24, help="requests to take (24)")
    parser.add_argument("--output", type=Path, default=DEMO_REQUESTS, help="file to write")
    options = parser.parse_args(argv)
    requests = []
    for record in itertools.islice(read_lists(options.lists, "test"), options.count):
        by_ctr = sorted(record.candidates, key=lambda c: -c.scores["ctr"])
        requests.append({"request_id": record.request_id, **record_json(record, by_ctr, embeddings=True)})
    lines = ",\n".join(msgspec.json.encode(request).decode() for request in requests)
    options.output.write_text(f"[\n{lines}\n]\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
