"""Make, check and use a Python client of the service: openapi-python-client, mypy --strict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "listwright_client"
_CONFIG: Final = "post_hooks: []\n"
# The generator's own client.py, which is the same for every document, hands `*args: object` to httpx.
_MYPY: Final = f"""\
[mypy]
strict = true
warn_unreachable = true

[mypy-{PACKAGE}.client]
disable_error_code = arg-type
"""
_SEND: Final = "import json, sys, use; print(json.dumps(use.order(*sys.argv[1:], request=json.load(sys.stdin))))"


def generate(document: Path, folder: Path, use: str) -> str:
    """Write the package and `use.py` with the text `use`; what the generator said, nothing if all is well."""
    (folder / "use.py").write_text(use, "utf-8")
    (folder / "mypy.ini").write_text(_MYPY, "utf-8")
    config = folder / "generator.yaml"
    config.write_text(_CONFIG, "utf-8")
    said = run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--overwrite"),
            *("--path", str(document), "--config", str(config), "--output-path", str(folder / PACKAGE)),
        ],
        folder,
    )
    return "\n".join(line for line in said.splitlines() if not line.startswith("Generating"))


def check(folder: Path) -> None:
    """Hold the package and its use to strict types; a failure says where they break."""
    run([sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "-p", PACKAGE, "-m", "use"], folder)


def send(folder: Path, url: str, request: Mapping[str, Any], *key: str) -> list[str]:
    """The ids that the client returns for a request."""
    said = run([sys.executable, "-c", _SEND, url, *key], folder, json.dumps(request))
    ids: list[str] = json.loads(said)
    return ids


def run(command: list[str], folder: Path, stdin: str = "", seconds: float = 240) -> str:
    """Run a command; its output. A failure is one of the test, with what the command said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MYPY", "PYTHON"))}
    done = subprocess.run(
        command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=seconds, env=environment, check=False
    )
    assert done.returncode == 0, f"{' '.join(command[:4])} …\n{done.stdout}\n{done.stderr}"
    return done.stdout
