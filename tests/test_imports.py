"""Hold the rules of who may import whom: room by room within a package, and one way between packages.

Data flows one way: contract → data → nets → planners → mining → training → export → bundle → service → loadtest.
``pytest -v`` prints the rules.
"""

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

ARRAYS = {
    f"{CONTRACT}.{name}": {"numpy"}
    for name in (
        *(
            "arrays",
            "candidates",
            "column_table",
            "embeddings",
            "features",
            "formulas",
            "layers",
            "partition",
            "scalars",
            "scaling",
            "slots",
        ),
        *(f"rules.{name}" for name in ("columns", "definition", "ledger", "pins", "ruling", "seen", "tensors")),
        *(f"catalogue.{name}" for name in ("catalogue", "gather", "index", "mapping", "segment")),
        *(f"rules.{name}" for name in ("dealing", "musts", "quotas", "sorting")),
    )
} | {f"{CONTRACT}.catalogue.lookup": {"numpy", "xxhash"}}
"""The contract's modules on arrays. The others read `bundle.json` and settings with the standard library alone."""

BEYOND = {**ARRAYS, f"{CONTRACT}.versions": {"packaging"}}
"""What modules of the contract import beside the standard library."""

FLOORS = {
    "models": (
        "contract",
        "files locks cli stores",
        "data options",
        "fetching",
        "checking datasets nets catalogue",
        "planners.graphs planners.references",
        "planners",
        "planners.search",
        "mining judging",
        "training",
        "distributed",
        "baselines reporting reranking",
        "baselines.evaluators baselines.generators baselines.scorers baselines.selection",
        "evaluation",
        "evaluation.degre evaluation.randomised evaluation.simulated",
        "evaluation.truth",
        "commands",
    ),
    "export": ("families", "proof", "bundle", "bench command"),
    "service": (
        "contract environment folders",
        "options",
        "settings",
        "timing scenes",
        "catalogues access",
        "transport",
        "inference",
        "inference.onnx",
        "bundles",
        "telemetry",
        "ranking status pages engine_bench",
        "engines",
        "model_detail app_parts",
        "admin app",
        "server",
        "workers",
        "command",
    ),
    "loadtest": (
        "requests",
        "rig.openloop",
        "rig",
        "peers demo_requests demo_truth demo_scene demo_catalogue demo_folder demo_undated",
        "cost resilience scale bench demo goodput run",
        "locustfile gpu_check",
    ),
}
"""The rooms of every package, lowest floor first. A room imports itself and rooms on lower floors only."""

IN_PROCESS = {
    "loadtest.cost.engine_processes.launcher",
    *(f"loadtest.cost.handover.{name}" for name in ("__main__", "content", "engine_child", "worker_child")),
    "loadtest.cost.observing",
    "loadtest.cost.refusal",
    "loadtest.cost.scrape",
    *(f"loadtest.resilience.overload_model.{name}" for name in ("policy", "server")),
}
"""The tools that run the service's own code: they measure it without HTTP, change its engine, or model its clock."""

ROOMS = [f"{package}.{name}" for package, floors in FLOORS.items() for floor in floors for name in floor.split()]

SERVING = {
    "fastapi",
    "hiredis",
    "httptools",
    "msgspec",
    "numpy",
    "onnxruntime",
    "opentelemetry",
    "packaging",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "starlette",
    "redis",
    "uvicorn",
    "uvloop",
    "xxhash",
    "zstandard",
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


def package_of(module: str) -> str:
    return module.partition(".")[0]


@cache
def room_of(module: str) -> str | None:
    """The room that a module is in: the longest name that it begins with."""
    names = [name for name in ROOMS if module == name or module.startswith(f"{name}.")]
    return max(names, key=len, default=None)


def below(name: str) -> list[str]:
    """The rooms of its package that a room may import, without the package's name, lowest first."""
    package, _, own = name.partition(".")
    found: list[str] = []
    for floor in FLOORS[package]:
        if own in floor.split():
            return found
        found += floor.split()
    raise AssertionError(name)


def next_below(name: str) -> str:
    """The rooms on the floor just below, as a person reads them."""
    package, _, own = name.partition(".")
    floors = FLOORS[package]
    here = next(i for i, floor in enumerate(floors) if own in floor.split())
    return floors[here - 1].replace(" ", ", ") if here else "nothing"


@cache
def room_and_below(name: str) -> set[str]:
    """The modules that a room may import of its own package."""
    allowed = {name, *(f"{package_of(name)}.{lower}" for lower in below(name))}
    return {module for module in sources() if room_of(module) in allowed}


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if package_of(name) in PACKAGES}


def foreign(module: str) -> set[str]:
    tops = {package_of(name) for name in imports(module)}
    return tops - sys.stdlib_module_names - set(PACKAGES) - {"__future__"}


def test_the_modules_are_found() -> None:
    assert {"models.contract.spec", "service.app", "service.server"} <= set(sources())


@pytest.mark.parametrize("module", sorted(room(CONTRACT)))
def test_the_contract_imports_nothing_of_ours_but_itself_and_little_else(module: str) -> None:
    assert foreign(module) <= BEYOND.get(module, set())
    assert ours(module) <= room(CONTRACT)


def test_the_service_imports_of_ours_only_itself_and_the_contract() -> None:
    for module in room("service"):
        assert ours(module) <= room("service") | room(CONTRACT), module


def test_the_service_imports_nothing_that_a_serving_installation_lacks() -> None:
    for module in room("service"):
        assert foreign(module) <= SERVING, module


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_a_room(package: str) -> None:
    assert {module for module in room(package) - {package} if room_of(module) is None} == set()


@pytest.mark.parametrize("name", ROOMS, ids=lambda name: f"{name} above {next_below(name)}")
def test_a_room_imports_only_rooms_below_it(name: str) -> None:
    for module in (m for m in sources() if room_of(m) == name):
        above = {i for i in ours(module) if i.startswith(f"{package_of(module)}.")} - room_and_below(name)
        assert not above, f"{module} imports {', '.join(sorted(above))}"


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("models", {"export", "service", "loadtest"}), ("export", {"service", "loadtest"}), ("loadtest", {"service"})],
    ids=["models imports no other package", "export imports models only", "loadtest imports models and export only"],
)
def test_data_flows_one_way(package: str, forbidden: set[str]) -> None:
    for module in room(package) - IN_PROCESS:
        assert not {package_of(name) for name in ours(module)} & forbidden, module


def test_no_package_imports_the_tools_of_deployment() -> None:
    for module in sources():
        assert "deploy" not in foreign(module), module


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
