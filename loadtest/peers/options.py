"""Make the command-line options that every peer's server has."""

from __future__ import annotations

import argparse
from pathlib import Path


def server_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser with ``--bundle`` and ``--port``; a peer adds the options that tune it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder to serve")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    return parser
