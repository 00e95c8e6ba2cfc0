"""Leave the date out of the demo's catalogue, which stays as it is.

``python -m loadtest.demo_undated models/embedded/catalogue``; see ``make train-demo``. With a date the alert on an old
catalogue would fire for ever in the demo. Without one there is no age to alert on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.catalogue.versions import write_manifest
from models.contract.catalogue.manifest import CATALOGUE_FILE, CatalogueManifest


def leave_date_out(folder: Path) -> None:
    """Write a version's `catalogue.json` again without `provenance.at`. Raises `CatalogueError`."""
    manifest = CatalogueManifest.read(folder)
    provenance = {key: value for key, value in manifest.provenance.items() if key != "at"}
    write_manifest(folder, replace(manifest, provenance=provenance))


def main(argv: Sequence[str] | None = None) -> int:
    """Write all versions below a folder anew; the exit status is 1 without any."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.demo_undated", description=__doc__)
    parser.add_argument("root", type=Path, help="folder of catalogues")
    found = list(parser.parse_args(argv).root.glob(f"*/*/{CATALOGUE_FILE}"))
    for path in found:
        leave_date_out(path.parent)
    return 0 if found else 1


if __name__ == "__main__":
    raise SystemExit(main())
