"""Look pinned versions up in a database of vulnerabilities; name those that it lacks.

``python deploy/supply/audit.py constraints.txt [options of pip-audit]``. pip-audit alone ends with 0 if an index knows
nothing about vulnerabilities, and with 1 both for a vulnerability and for no network.

Exit status: 0 all were looked up and none is known to be vulnerable; 1 some are; 3 some or all could not be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

NOT_ASKED = 3


def report(arguments: list[str]) -> dict[str, Any] | str:
    """Return pip-audit's report, or its last words if it made none."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--requirement", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]


def main(arguments: list[str]) -> int:
    """Print what is vulnerable and what is unknown; return the exit status."""
    found = report(arguments)
    if isinstance(found, str):
        print(f"NOT AUDITED: no database of vulnerabilities could be asked (offline?): {found}", file=sys.stderr)
        return NOT_ASKED
    packages = found["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for known in package["vulns"]:
            fixed = ", ".join(known["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {known['id']}, fixed in {fixed}")
    print(f"{len(packages) - len(skipped)} of {len(packages)} packages looked up, {len(vulnerable)} vulnerable")
    if skipped:
        print(f"NOT AUDITED: the index knows nothing about {', '.join(skipped)}", file=sys.stderr)
    return 1 if vulnerable else NOT_ASKED if skipped or not packages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
