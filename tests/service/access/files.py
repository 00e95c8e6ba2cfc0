"""Files of API keys for tests."""

from __future__ import annotations

from pathlib import Path

SECRETS = {name: f"secret-of-{name}-0123456789" for name in ("backend", "batch", "old", "new", "operator")}
"""Keys by their names."""


def entry(name: str, more: str = "") -> str:
    """One table of a file."""
    return f'[[keys]]\nname = "{name}"\nkey = "{SECRETS[name]}"\n{more}\n'


def write_keys(path: Path, text: str, mode: int = 0o600) -> Path:
    """Put a file of keys in its place at once."""
    beside = path.with_name(f".{path.name}")
    beside.unlink(missing_ok=True)
    beside.touch(mode)
    beside.write_text(text, "utf-8")
    beside.chmod(mode)
    beside.replace(path)
    return path


def bearer(name: str) -> dict[str, str]:
    """The header with a key."""
    return {"Authorization": f"Bearer {SECRETS[name]}"}
