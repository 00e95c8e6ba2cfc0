"""Write made-up items as Parquet, and build the catalogue that serves requests which name them.

``python -m loadtest.requests.items --bundle FOLDER --items 10000 --out items.parquet``, then ``listwright catalogue
build``: requests of ``--form catalogue`` with the same ``--items``, ``--seed`` and ``--embedding-width`` then find
all of their items. Needs pyarrow.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from loadtest.requests.fake import FakeItems
from models.contract.manifest import Manifest
from models.contract.spec import FeatureSpec, SpecError

DEFAULT_ITEMS: Final = 10_000
_CHUNK: Final = 10_000

Item = Mapping[str, Any]
"""What is known of an item: a candidate's ``id``, ``price``, ``features`` and ``embedding``."""


def all_items(items: FakeItems) -> Iterator[Item]:
    """Make up every item once."""
    return (items.item(number) for number in range(items.count))


def write_items(items: Iterable[Item], path: Path) -> None:
    """Write items as the Parquet file that catalogues are built of. Raises `ValueError` for none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rest = iter(items)
    first = list(itertools.islice(rest, _CHUNK))
    if not first:
        raise ValueError(f"{path}: there are no items to write")
    table = pa.Table.from_pylist(first)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        while chunk := list(itertools.islice(rest, _CHUNK)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=table.schema))


def build_for(items: Iterable[Item], spec: FeatureSpec, root: Path) -> Path:
    """Build a catalogue of items for a spec, and return its folder. Raises `CatalogueError`."""
    from models.catalogue.build import build_catalogue

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "items.parquet"
        write_items(items, file)
        return build_catalogue(file, spec, root)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file; the exit status is 2 for a bad bundle or folder."""
    parser = argparse.ArgumentParser("python -m loadtest.requests.items", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder; its spec says what items are like")
    parser.add_argument("--items", type=int, default=DEFAULT_ITEMS, help=f"items to make up ({DEFAULT_ITEMS})")
    parser.add_argument("--embedding-width", type=int, default=0, help="width of their embeddings (0: none)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the items (0)")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    options = parser.parse_args(argv)
    try:
        spec = Manifest.read(options.bundle).spec
        items = FakeItems(spec, options.items, seed=options.seed, embedding_width=options.embedding_width)
        write_items(all_items(items), options.out)
    except (SpecError, ValueError, OSError) as error:
        parser.exit(2, f"loadtest.requests.items: {error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
