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
_BATCH: Final = f"""\
from typing import Any

from {PACKAGE} import AuthenticatedClient
from {PACKAGE}.api.rerank import rerank_batch
from {PACKAGE}.models import BatchRequest, BatchResponse, Problem, RerankResponse


def order(url: str, key: str, request: dict[str, Any]) -> list[str]:
    body = BatchRequest.from_dict({{"requests": [request, {{**request, "candidates": []}}]}})
    with AuthenticatedClient(base_url=url, token=key) as client:
        answer = rerank_batch.sync(client=client, body=body)
    assert isinstance(answer, BatchResponse), answer
    first, second = answer.results
    assert isinstance(first.response, RerankResponse), first
    assert isinstance(second.problem, Problem), second
    return [item.id for item in first.response.items] + [f"{{second.status}}"]
"""
_SEND: Final = "import json, sys, {} as use; print(json.dumps(use.order(*sys.argv[1:], request=json.load(sys.stdin))))"


def generate(document: Path, folder: Path, use: str) -> str:
    """Write the package, `use.py` with the text `use`, and `batch.py`; what the generator said, nothing if well."""
    (folder / "use.py").write_text(use, "utf-8")
    (folder / "batch.py").write_text(_BATCH, "utf-8")
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
    """Hold the package and its uses to strict types; a failure says where they break."""
    modules = ("-p", PACKAGE, "-m", "use", "-m", "batch")
    run([sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *modules], folder)


def send(folder: Path, url: str, request: Mapping[str, Any], *key: str, module: str = "use") -> list[str]:
    """The ids that the client returns for a request; of `batch`, then the status of a request without candidates."""
    said = run([sys.executable, "-c", _SEND.format(module), url, *key], folder, json.dumps(request))
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
