"""List the licences in a bill of materials, and compare them with the policy.

``python deploy/supply/licences.py build/sbom/serving.cdx.json --serving --out build/sbom/serving-licences.md``, with a
Python that has `license-expression`. Several licences of one package are taken as all of them together.

Exit status: 0 all are allowed; 1 one is not, or is unknown; 2 the policy or the bill of materials is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from license_expression import ExpressionError, Licensing, get_spdx_licensing

POLICY: Final = Path(__file__).with_name("licences.toml")
_SPDX: Final[Licensing] = get_spdx_licensing()


@dataclass(frozen=True)
class Policy:
    """Hold the licences that are allowed, and packages that are although theirs is not."""

    allowed: frozenset[str]
    names: dict[str, str]
    packages: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Policy:
        """Read a policy. Raises `SystemExit` if an entry is not whole."""
        written = tomllib.loads(path.read_text("utf-8"))
        for name, entry in written["packages"].items():
            if set(entry) != {"licence", "reason", "serving"} or not entry["reason"].strip():
                print(f"{path}: packages.{name}: expected licence, reason and serving", file=sys.stderr)
                raise SystemExit(2)
        return cls(frozenset(written["allowed"]), written["names"], written["packages"])

    def refusal(self, package: str, licence: str, serving: bool) -> str | None:
        """Say why a package may not be used, or None if it may."""
        entry = self.packages.get(package)
        if entry is not None and (serving and not entry["serving"]):
            return "the policy has it for development only"
        if entry is not None and entry["licence"] == licence:
            return None
        if entry is not None:
            return f"the policy has it with the licence {entry['licence']}"
        if not licence:
            return "it declares no licence"
        try:
            tree = _SPDX.parse(licence, validate=True)
        except ExpressionError as error:
            return f"no SPDX licence: {' '.join(str(error).split())}"
        return None if self._allows(tree) else "the policy does not allow it"

    def _allows(self, tree: Any) -> bool:
        """Tell whether one side of an OR is allowed, or both of an AND."""
        if isinstance(tree, _SPDX.OR):
            return any(map(self._allows, tree.args))
        if isinstance(tree, _SPDX.AND):
            return all(map(self._allows, tree.args))
        return tree.render() in self.allowed


def declared(component: dict[str, Any], names: dict[str, str]) -> str:
    """Return a package's licences as one SPDX expression, without names that say nothing."""
    found = dict.fromkeys(
        names.get(text, text)
        for entry in component.get("licenses", ())
        for text in [entry.get("expression") or entry["license"].get("id") or entry["license"]["name"]]
    )
    parts = [text for text in found if text]
    return parts[0] if len(parts) == 1 else " AND ".join(f"({text})" if " " in text else text for text in parts)


def table(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield from ("| package | version | licence |", "|---|---|---|")
    yield from (f"| {name} | {version} | {licence} |" for name, version, licence in rows)


def main() -> int:
    """Write the list, print what the policy refuses; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bill", type=Path, help="CycloneDX JSON")
    parser.add_argument("--policy", type=Path, default=POLICY, help="TOML")
    parser.add_argument("--serving", action="store_true", help="what only development may use is refused")
    parser.add_argument("--out", type=Path, help="write the list as Markdown")
    options = parser.parse_args()
    policy = Policy.read(options.policy)
    components = json.loads(options.bill.read_text("utf-8"))["components"]
    rows, refused = [], 0
    for component in sorted(components, key=lambda c: c["name"].lower()):
        licence = declared(component, policy.names)
        name = component["name"].lower().replace("_", "-").replace(".", "-")
        rows.append(
            (component["name"], component["version"], licence or policy.packages.get(name, {}).get("licence", "none"))
        )
        if problem := policy.refusal(name, licence, options.serving):
            refused += 1
            print(f"{component['name']} {component['version']}: {licence or 'none'}: {problem}", file=sys.stderr)
    if options.out is not None:
        options.out.write_text("\n".join(table(rows)) + "\n", "utf-8")
    print(f"{options.bill}: {len(rows)} licences, {refused} refused")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
