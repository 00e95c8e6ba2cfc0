"""Write the files that are made from the alerts.

``make alerts``, or ``python -m deploy.alerts --runbook URL``. With ``--check`` nothing is written, and the exit status
is 1 if a file is not what it should be. ``--shortened`` prints Prometheus' rules with windows of seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from deploy.alerts.files import documents, rules
from deploy.alerts.rules import RUNBOOK, SHORTENED


def main(argv: Sequence[str] | None = None) -> int:
    """Write, check or print; see the module for the exit status."""
    parser = argparse.ArgumentParser("python -m deploy.alerts", description=__doc__)
    parser.add_argument("--runbook", default=RUNBOOK, metavar="URL", help="where the runbook can be read")
    parser.add_argument("--check", action="store_true", help="only say which files are not up to date")
    parser.add_argument("--shortened", action="store_true", help="print rules with windows of seconds instead")
    options = parser.parse_args(argv)
    if options.shortened:
        print(rules(SHORTENED, options.runbook), end="")
        return 0
    stale = [
        (path, text)
        for path, text in documents(options.runbook).items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    for path, text in stale:
        if options.check:
            print(f"{path}: is not up to date; run `make alerts`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
