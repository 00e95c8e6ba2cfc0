"""Run a command against a service that is started for it and stopped afterwards.

``python -m loadtest.rig.with_server --bundles bundles -- curl {url}/v1/models``; ``{url}`` stands for its address.
The exit status is the command's, or 2 if the service did not start.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

from loadtest.rig.server import ServerError, running_server
from models.contract.manifest import EMBEDDED_BUNDLES


def main(argv: Sequence[str] | None = None) -> int:
    """Serve, run, stop."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.rig.with_server", description=__doc__)
    parser.add_argument("--bundles", type=Path, default=EMBEDDED_BUNDLES, help="folder of bundles (the embedded one)")
    parser.add_argument("--log", type=Path, help="file for the service's standard error")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="command to run, after --")
    options = parser.parse_args(argv)
    try:
        with running_server(options.bundles, log=options.log) as server:
            command = [part.replace("{url}", server.url) for part in options.command]
            return subprocess.run(command, check=False).returncode
    except (ServerError, OSError) as error:
        parser.exit(2, f"loadtest.rig.with_server: {error}\n")


if __name__ == "__main__":
    raise SystemExit(main())
