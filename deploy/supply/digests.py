"""Compare the digests in Compose files with the registry's, and write what differs.

``python deploy/supply/digests.py docker-compose.yml ...``. Asks with `docker buildx imagetools`, crane or skopeo, in
this order. A digest is of a tag's list of platforms. Standard library only.

Exit status: 0 all are the registry's; 1 some were written, look at them; 3 the registry could not be asked.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

PINNED: Final = re.compile(
    r"^(?P<before> +image: )(?P<image>[a-z./-]+:v?\d[\w.-]*)(?P<digest>@sha256:[0-9a-f]{64})?$", re.MULTILINE
)
"""An image of others: the project's own have no version as their tag."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TOOLS: Final = {
    "docker": ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}"],
    "crane": ["crane", "digest"],
    "skopeo": ["skopeo", "inspect", "--no-tags", "--format", "{{.Digest}}"],
}


class CannotAskError(Exception):
    """The registry gave no digest."""


def asked(image: str) -> str:
    """Return the registry's digest of `image`. Raises `CannotAskError` if no tool gets one."""
    failures = []
    for name, command in _TOOLS.items():
        if shutil.which(name) is None:
            continue
        given = f"docker://{image}" if name == "skopeo" else image
        done = subprocess.run([*command, given], capture_output=True, text=True, check=False)
        if done.returncode == 0 and _DIGEST.fullmatch(done.stdout.strip()):
            return done.stdout.strip()
        failures.append(f"{name}: {(done.stderr or done.stdout).strip() or 'gave no digest'}")
    raise CannotAskError("; ".join(failures) or f"none of {', '.join(_TOOLS)} is installed")


def renew(path: Path) -> int:
    """Write the registry's digests into a Compose file, and return how many were not there."""
    changed = 0

    def pin(found: re.Match[str]) -> str:
        nonlocal changed
        digest = f"@{asked(found['image'])}"
        if digest != found["digest"]:
            changed += 1
            print(f"{path}: {found['image']}: {found['digest'] or 'no digest'} -> {digest}")
        return f"{found['before']}{found['image']}{digest}"

    text = path.read_text("utf-8")
    renewed = PINNED.sub(pin, text)
    if renewed != text:
        path.write_text(renewed, "utf-8")
    return changed


def main(paths: list[Path]) -> int:
    """Renew each file; return the exit status."""
    try:
        changed = sum(renew(path) for path in paths)
    except CannotAskError as error:
        print(f"the registry could not be asked, so nothing is known about the digests: {error}", file=sys.stderr)
        return 3
    print(f"{changed} digests written" if changed else "all digests are the registry's")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
