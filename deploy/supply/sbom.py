"""Write a virtual environment's CycloneDX bill of materials, valid against its schema.

``python deploy/supply/sbom.py .venv-demo/bin/python build/sbom/serving.cdx.json``, with a Python that has
`cyclonedx-bom`; that Python's own packages stay out. The software of others that lies in our packages is added. The
same environment gives the same bytes: there is no time and no serial number in them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

VERSION: Final = SchemaVersion.V1_6

VENDORED: Final = (
    {
        "bom-ref": "pkg:npm/swagger-ui-dist@5.35.0",
        "type": "library",
        "name": "swagger-ui-dist",
        "version": "5.35.0",
        "purl": "pkg:npm/swagger-ui-dist@5.35.0",
        "description": "In service/pages/vendor/swagger_ui; packages bundled in it are in its LICENSE.txt.",
        "licenses": [{"license": {"id": "Apache-2.0", "acknowledgement": "declared"}}],
    },
)
"""Packages of others whose files lie in the repository."""


def installed(python: Path, pyproject: Path) -> dict[str, Any]:
    """Return the bill of materials of the environment of `python`, whose root is the project."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(pyproject)]
    command += ["--output-reproducible", "--spec-version", VERSION.to_version(), str(python)]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def with_vendored(bill: dict[str, Any]) -> dict[str, Any]:
    """Add what lies in the packages themselves, as dependencies of the root."""
    root = bill["metadata"]["component"]["bom-ref"]
    refs = [component["bom-ref"] for component in VENDORED]
    for dependency in bill["dependencies"]:
        if dependency["ref"] == root:
            dependency["dependsOn"] = sorted({*dependency.get("dependsOn", ()), *refs})
    return {
        **bill,
        "components": [*bill["components"], *VENDORED],
        "dependencies": [*bill["dependencies"], *({"ref": ref} for ref in refs)],
    }


def main() -> None:
    """Write and check one bill of materials."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("python", type=Path, help="the interpreter of the environment")
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument(
        "--pyproject", type=Path, default=Path("pyproject.toml"), help="says the project's name and version"
    )
    options = parser.parse_args()
    text = json.dumps(with_vendored(installed(options.python, options.pyproject)), indent=2, sort_keys=True) + "\n"
    if problem := JsonStrictValidator(VERSION).validate_str(text):
        raise SystemExit(f"{options.out}: not valid against CycloneDX {VERSION.to_version()}: {problem}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, "utf-8")
    print(
        f"{options.out}: {len(json.loads(text)['components'])} packages, valid against CycloneDX {VERSION.to_version()}"
    )


if __name__ == "__main__":
    main()
