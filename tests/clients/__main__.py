"""Make both clients in build/clients, compile them, and send README's request through each: `make clients`."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from loadtest.rig.server import running_server
from models.contract.manifest import EMBEDDED_BUNDLES
from tests.clients import python, typescript
from tests.clients.documented import ENVIRONMENT, KEY, OPTIONS, README_REQUEST, code
from tests.documents import ROOT


def main(arguments: Sequence[str] | None = None) -> int:
    """Make, check and use both; 1 if npm cannot be had, after the Python client."""
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "clients", help="folder that they are written to")
    out = parser.parse_args(arguments).out.resolve()
    for name in ("python", "typescript"):
        (out / name).mkdir(parents=True, exist_ok=True)
    with running_server(EMBEDDED_BUNDLES, options=OPTIONS, environment=ENVIRONMENT) as server:
        with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=60) as response:
            (out / "openapi.json").write_bytes(response.read())
        _make_python(out, server.url)
        try:
            _make_typescript(out, server.url)
        except typescript.NpmMissing as error:
            print(f"TypeScript: not made, since {error}", file=sys.stderr)
            return 1
    return 0


def _make_python(out: Path, url: str) -> None:
    folder = out / "python"
    said = python.generate(out / "openapi.json", folder, code("python"))
    assert not said, said
    python.check(folder)
    ids = json.dumps(python.send(folder, url, README_REQUEST, KEY))
    print(f"Python: {folder / python.PACKAGE}: strict types hold; README's request gives", ids)


def _make_typescript(out: Path, url: str) -> None:
    folder = out / "typescript"
    typescript.generate(out / "openapi.json", folder, code("ts"), README_REQUEST, typescript.packages())
    typescript.compile_project(folder)
    ids = json.dumps(typescript.send(folder, url, README_REQUEST, KEY))
    print(f"TypeScript: {folder / 'src' / 'listwright.ts'}: compiles in strict mode; README's request gives", ids)


if __name__ == "__main__":
    sys.exit(main())
