"""Make, compile and use a TypeScript client of the service: openapi-typescript, openapi-fetch, tsc --strict."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.clients.python import run
from tests.documents import ROOT

PROJECT: Final = Path(__file__).parent / "typescript"
CACHE: Final = ROOT / "build" / "clients" / "npm"
"""Packages that have been installed, by the lock file; git ignores it."""

_INSTALL_SECONDS: Final = 180


class NpmMissing(Exception):
    """The packages cannot be had here; the message says why."""


def packages() -> Path:
    """Install what the lock file names, once. Raises `NpmMissing`."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        raise NpmMissing(f"there is no {' and no '.join(missing)}")
    lock = (PROJECT / "package-lock.json").read_bytes()
    folder = CACHE / hashlib.sha256(lock).hexdigest()[:16]
    if (folder / ".complete").exists():
        return folder / "node_modules"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(PROJECT / name, folder)
    try:
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--fetch-retries=1", "--loglevel=error"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NpmMissing(f"npm took longer than {_INSTALL_SECONDS} s") from None
    if done.returncode:
        raise NpmMissing(f"npm cannot install what the test needs: {done.stderr.strip()[:300]}")
    (folder / ".complete").touch()
    return folder / "node_modules"


def generate(document: Path, folder: Path, use: str, request: Mapping[str, Any], modules: Path) -> None:
    """Write the project: the generated types, `use.ts` with the text `use`, and a request as a literal."""
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    link = folder / "node_modules"
    link.unlink(missing_ok=True)
    link.symlink_to(modules)
    (folder / "src" / "use.ts").write_text(use, "utf-8")
    literal = json.dumps(request, indent=2)
    (folder / "src" / "request.ts").write_text(
        'import type { components } from "./listwright.js";\n\n'
        f'export const request: components["schemas"]["RerankRequest"] = {literal};\n',
        "utf-8",
    )
    run([str(_binary(modules, "openapi-typescript")), str(document), "--output", "src/listwright.ts"], folder)


def compile_project(folder: Path) -> None:
    """Compile it in strict mode; a failure says where it breaks."""
    run([str(_binary(folder / "node_modules", "tsc")), "--project", "."], folder)


def send(folder: Path, url: str, request: Mapping[str, Any], *key: str) -> list[str]:
    """The ids that the client returns for a request."""
    ids: list[str] = json.loads(run(["node", "run.mjs", url, *key], folder, json.dumps(request)))
    return ids


def _binary(modules: Path, name: str) -> Path:
    return modules / ".bin" / name
