"""Who may import whom. Data flows one way: contract → lists → models → export → bundle → service → loadtest."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "export", "service", "loadtest")
CONTRACT = "models.contract"
"""The room that is all that serving may import of `models`."""

ARRAYS = {f"{CONTRACT}.{name}": {"numpy"} for name in ("arrays", "features", "formulas", "partition", "slots")}
"""The contract's modules on arrays. The others read `bundle.json` and settings with the standard library alone."""

SERVING = {
    "fastapi",
    "httptools",
    "msgspec",
    "numpy",
    "onnxruntime",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "starlette",
    "uvicorn",
    "uvloop",
}
"""What a serving installation has. No torch, no onnx, no pyarrow."""


@cache
def sources() -> dict[str, Path]:
    """Module name to file, for every module of ours outside tests."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """Every module that `module` imports, at any place in its file, as full names."""
    return frozenset(_imports(ast.parse(sources()[module].read_text("utf-8")), module))


def _imports(tree: ast.Module, module: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in sources() else str(node.module)


def room(package: str) -> set[str]:
    """The modules of a package, with itself."""
    return {name for name in sources() if name == package or name.startswith(f"{package}.")}


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name.partition(".")[0] in PACKAGES}


def foreign(module: str) -> set[str]:
    tops = {name.partition(".")[0] for name in imports(module)}
    return tops - sys.stdlib_module_names - set(PACKAGES) - {"__future__"}


def test_the_modules_are_found() -> None:
    assert {"models.contract.spec", "service.app", "service.server"} <= set(sources())


@pytest.mark.parametrize("module", sorted(room(CONTRACT)))
def test_the_contract_imports_nothing_of_ours_but_itself_and_at_most_numpy(module: str) -> None:
    assert foreign(module) <= ARRAYS.get(module, set())
    assert ours(module) <= room(CONTRACT)


def test_the_service_imports_of_ours_only_itself_and_the_contract() -> None:
    for module in room("service"):
        assert ours(module) <= room("service") | room(CONTRACT), module


def test_the_service_imports_nothing_that_a_serving_installation_lacks() -> None:
    for module in room("service"):
        assert foreign(module) <= SERVING, module


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("models", {"export", "service", "loadtest"}), ("export", {"service", "loadtest"}), ("loadtest", {"service"})],
)
def test_data_flows_one_way(package: str, forbidden: set[str]) -> None:
    for module in (m for m in sources() if m.partition(".")[0] == package):
        assert not {name.partition(".")[0] for name in ours(module)} & forbidden, module


def test_there_are_no_import_cycles() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path[path.index(module) :], module))
        if module in done or module not in sources():
            return
        for name in sorted(ours(module)):
            visit(name, (*path, module))
        done.add(module)

    for module in sources():
        visit(module, ())
