"""How cost grows with candidates, list length, batch and model width, beside the arithmetic floor.

``python -m loadtest.cost.cost_growth --out DIR`` measures, and writes ``cost-growth.{json,md}`` and two plots.
``--measured FILE`` sets measured goodput beside what the plan says: JSON, as in ``{"length": {"10": 812, "50": 95}}``;
with ``--redraw`` that is done to figures that are in DIR already.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import onnxruntime

from loadtest.capacity import Worker
from loadtest.cost.growth import Growth, Rate, Row, Settings, Sizes, measure
from loadtest.cost.growth_report import GOODPUT_FILE, LATENCY_FILE, NAMES, Goodput, draw_goodput, draw_latency, markdown
from loadtest.rig.latency import BUDGET_MS
from loadtest.rig.server import ServerError
from models.files import whole_file, write_json

FIGURES_FILE: Final = "cost-growth.json"
TABLES_FILE: Final = "cost-growth.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure or redraw, and print the tables; the exit status is 0, or 2 without figures."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        measured = _measured(options.measured)
        growth = _read(options.out / FIGURES_FILE) if options.redraw else _measure(options)
    except (ValueError, OSError, ServerError) as error:
        parser.exit(2, f"loadtest.cost.cost_growth: {error}\n")
    tables = markdown(growth, measured)
    with whole_file(options.out / TABLES_FILE) as partial:
        partial.write_text(tables + "\n", "utf-8")
    draw_latency(options.out / LATENCY_FILE, growth)
    draw_goodput(options.out / GOODPUT_FILE, growth, measured)
    print(tables)
    return 0


def _measure(options: argparse.Namespace) -> Growth:
    worker = Worker(options.cpus, options.max_batch, options.budget_ms / 1e3, options.reserve_ms / 1e3)
    sweeps = {name: tuple(getattr(options, name)) for name in NAMES if getattr(options, name)}
    settings = Settings(
        bundles=options.bundles,
        sweeps=sweeps,
        base=Sizes(dim=options.base_dim),
        blocks=options.blocks,
        runs=options.runs,
        requests=options.requests,
        serve_options=options.serve_options,
        worker=worker,
    )
    _check(settings)
    growth = measure(settings)
    report: dict[str, Any] = {
        "host": platform.machine(),
        "onnxruntime": onnxruntime.__version__,
        "blocks": settings.blocks,
        "base": settings.base._asdict(),
        "worker": asdict(worker),
        **asdict(growth),
    }
    write_json(options.out / FIGURES_FILE, report)
    return growth


def _check(settings: Settings) -> None:
    if not settings.sweeps:
        raise ValueError(f"nothing is swept: give at least one of {', '.join('--' + name for name in NAMES)} a value")
    for name, values in settings.sweeps.items():
        if min(values) < 1:
            raise ValueError(f"--{name}: must be at least 1, not {min(values)}")
    for name in ("blocks", "runs", "requests"):
        if getattr(settings, name) < 1:
            raise ValueError(f"--{name}: must be at least 1, not {getattr(settings, name)}")


def _read(path: Path) -> Growth:
    table = json.loads(path.read_text("utf-8"))
    return Growth(tuple(Row(**row) for row in table["rows"]), tuple(Rate(**rate) for rate in table["rates"]))


def _measured(path: Path | None) -> Goodput:
    """Raises `ValueError` naming a size that is not swept, or text that is no number."""
    if path is None:
        return {}
    table = json.loads(path.read_text("utf-8"))
    if unknown := sorted(table.keys() - NAMES.keys()):
        raise ValueError(f"--measured: {path}: {unknown[0]!r} is none of {', '.join(NAMES)}")
    return {name: {str(int(value)): float(rate) for value, rate in rates.items()} for name, rates in table.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.cost.cost_growth", description=__doc__)
    add = parser.add_argument
    standard = Settings(Path())
    add("--out", type=Path, required=True, metavar="DIR", help="where figures, tables and plots go")
    add("--measured", type=Path, metavar="FILE", help="goodput as measured, to set beside the plan's")
    add("--redraw", action="store_true", help="measure nothing; take the figures in DIR")
    add("--bundles", type=Path, default=Path("build/growth"), help="where models are kept (build/growth)")
    for name, label in NAMES.items():
        default = standard.sweeps[name]
        values = " ".join(map(str, default))
        add(f"--{name}", type=int, nargs="*", default=default, metavar="N", help=f"{label}: values ({values})")
    add("--base-dim", type=int, default=standard.base.dim, help="width of the model that other sizes vary (128)")
    add("--blocks", type=int, default=standard.blocks, help="turns of everything (15)")
    add("--runs", type=int, default=standard.runs, help="runs of each engine in a turn (10)")
    add("--requests", type=int, default=standard.requests, help="requests of each kind in a turn (40)")
    add("--cpus", type=int, default=1, help="CPUs of a worker: 1 or 2 (1)")
    add("--max-batch", type=int, default=8, help="the service's largest batch (8)")
    add("--budget-ms", type=float, default=BUDGET_MS, help="p99 to keep (19)")
    add("--reserve-ms", type=float, default=0.0, help="time before the deadline at which the model is given up (0)")
    add("--serve-options", default="", metavar="OPTIONS", help="more options of `listwright serve`, as one argument")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
