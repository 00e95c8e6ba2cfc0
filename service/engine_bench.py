"""Time one bundle's engine without a service: ``python -m service.engine_bench``.

Every batch size is timed run by run, inputs from the host and outputs back on it, as the service runs it. With
``--ruled`` it is the graph of requests with rules that is timed, over its own recorded requests. The report
also says how the bundle's recorded requests were answered, which nodes ran on which provider, and how many shapes are
replayed as CUDA graphs, or why none is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from models.contract.arrays import Arrays
from models.contract.manifest import GOLDEN_FILE, MODEL_FILE, RULED_FILE, RULED_GOLDEN_FILE, Manifest
from models.contract.spec import SpecError
from models.contract.tensor_specs import RuledGraph
from service.bundles.golden import replay
from service.inference.engine import BatchArrays, Engine, warm_fully
from service.inference.onnx.choose import choose_provider, load_engine, why_no_cuda
from service.inference.onnx.cuda import CudaEngine, provider_options
from service.inference.onnx.session import PROVIDERS, SessionConfig, session_options
from service.settings import SettingsError
from service.telemetry.logs import configure_logging

SIZES: Final = (1, 2, 4, 8, 16, 32, 64)
_COLD_RUNS: Final = 10
_LEAST_RUNS: Final = 20
_COPIES: Final = ("MemcpyFromHost", "MemcpyToHost")


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table and write JSON; return the exit status.

    0: done. 1: recorded requests were answered otherwise. 2: the bundle or an option cannot be used. 3, for ``--probe``
    alone: the provider does not work here.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    configure_logging(level="warning", as_json=False)
    if options.probe:
        problem = None if options.provider == "cpu" else why_no_cuda()
        print(f"onnxruntime {ort.__version__}: {options.provider} {'works' if problem is None else problem}")
        return 0 if problem is None else 3
    try:
        if options.bundle is None:
            raise ValueError("--bundle: is missing")
        report = _Bench(options).run()
    except (ValueError, OSError, SettingsError, SpecError) as error:
        parser.exit(2, f"service.engine_bench: {error}\n")
    print(_table(report))
    return 0 if report["golden"]["error"] is None else 1


class _Bench:
    """Measure one bundle; every finding is written at once."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Check the options. Raises `SettingsError` for the provider, `SpecError` or `ValueError` for the bundle."""
        if min(options.batches) < 1:
            raise ValueError(f"--batches: must be at least 1, not {min(options.batches)}")
        self._options = options
        self._folder: Path = options.bundle
        self._manifest = Manifest.read(self._folder)
        if options.ruled and self._manifest.ruled is None:
            raise ValueError("--ruled: the bundle has no graph for rules")
        self._ruled = self._manifest.ruled if options.ruled else None
        self._model, self._recorded = (RULED_FILE, RULED_GOLDEN_FILE) if options.ruled else (MODEL_FILE, GOLDEN_FILE)
        self._config = SessionConfig(
            provider=choose_provider(options.provider),
            intra_op_threads=options.threads,
            max_batch=max(options.batches),
            cuda_graphs=options.graphs,
        )
        self._report: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Measure everything. Raises ONNX Runtime's error for a graph that cannot run."""
        golden = _inputs(self._folder / self._recorded, self._ruled or self._manifest)
        one = {name: array[:1] for name, array in golden.items()}
        self._note(**self._about(), placement=self._placement(one))
        started = time.perf_counter()
        engine = load_engine(
            self._folder / self._model, self._config, model_sha256=self._manifest.files.get(self._model, "")
        )
        loaded = time.perf_counter()
        warm_fully(engine, one)
        self._note(load_seconds=loaded - started, warm_seconds=time.perf_counter() - loaded, graphs=_graphs(engine))
        self._note(golden=self._golden(engine))
        rows: list[dict[str, float]] = []
        for size in self._options.batches:
            rows.append(self._time(engine, golden, size))
            self._note(rows=rows)
        return self._report

    def _note(self, **found: Any) -> None:
        self._report.update(found)
        path: Path | None = self._options.json
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self._report, indent=1) + "\n", "utf-8")

    def _about(self) -> dict[str, Any]:
        return {
            "bundle": f"{self._manifest.name}/{self._manifest.version}",
            "graph": self._model,
            "precision": self._manifest.provenance.get("precision", "fp32"),
            "provider": self._config.provider,
            "graphs_asked": self._config.provider == "cuda" and self._config.cuda_graphs,
            "threads": self._config.intra_op_threads,
            "versions": {"onnxruntime": ort.__version__, "python": platform.python_version(), "numpy": np.__version__},
        }

    def _placement(self, batch: BatchArrays) -> dict[str, Any]:
        """Count nodes per provider; a failing profile is only reported."""
        name = PROVIDERS[self._config.provider]
        own = provider_options(self._config, graphs=False) if self._config.provider == "cuda" else {}
        try:
            found = placement(self._folder / self._model, self._config, [(name, own)], batch)
        except Exception as error:  # ONNX Runtime's errors have no common base.
            return {"error": str(error) or repr(error)}
        return {"nodes": found.nodes(name), "elsewhere": found.elsewhere(name), "copies": found.copies}

    def _golden(self, engine: Engine) -> dict[str, Any]:
        """Replay the recorded requests."""
        try:
            requests = replay(self._manifest, engine, self._folder / self._recorded, sides=self._ruled)
            return {"requests": requests, "error": None}
        except ValueError as error:
            return {"requests": 0, "error": str(error)}

    def _time(self, engine: Engine, rows: Arrays, size: int) -> dict[str, float]:
        """Time runs of one batch size."""
        count = len(rows["valid"])
        # Three batches in turn, so that no run finds its own inputs.
        batches = [
            {name: array[np.arange(i, i + size) % count] for name, array in rows.items()} for i in range(min(3, count))
        ]
        turns = itertools.cycle(batches)
        for _ in range(_COLD_RUNS):
            engine.run(next(turns))
        seconds: list[float] = []
        end = time.perf_counter() + self._options.seconds
        while len(seconds) < self._options.runs and (len(seconds) < _LEAST_RUNS or time.perf_counter() < end):
            batch = next(turns)
            started = time.perf_counter()
            engine.run(batch)
            seconds.append(time.perf_counter() - started)
        p50, p99 = np.percentile(seconds, [50, 99], method="inverted_cdf").tolist()
        ms = {"p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3, "mean_ms": float(np.mean(seconds)) * 1e3}
        return {"batch": size, "runs": len(seconds), **ms, "rows_per_second": size / p50}


@dataclass(frozen=True, slots=True)
class Placement:
    """Number of nodes that ran, per provider and kind, after optimisation.

    A node that has no kernel on the device runs on the CPU, with a copy on either side of it. The copies take longer
    than the node, and a CUDA graph cannot be captured around it.
    """

    kinds: Mapping[str, Mapping[str, int]]

    def nodes(self, provider: str) -> int:
        """Count the nodes on a provider, by ONNX Runtime's name of it."""
        return sum(self.kinds.get(provider, {}).values())

    def elsewhere(self, provider: str) -> dict[str, int]:
        """Count the nodes on any other provider, by kind."""
        found: Counter[str] = Counter()
        for name, kinds in self.kinds.items():
            if name != provider:
                found.update(kinds)
        return dict(found)

    @property
    def copies(self) -> int:
        """Count the copies between host and device in the middle of the graph."""
        return sum(kinds.get(kind, 0) for kinds in self.kinds.values() for kind in _COPIES)


def placement(model: Path, config: SessionConfig, providers: list[Any], batch: BatchArrays) -> Placement:
    """Run `batch` once with a profile, in its own session. Raises ONNX Runtime's errors."""
    options = session_options(config)
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(model), sess_options=options, providers=providers)
        session.run(None, dict(batch))
        return read_profile(json.loads(Path(session.end_profiling()).read_text("utf-8")))


def read_profile(events: list[dict[str, Any]]) -> Placement:
    """Count the nodes in a profile, each once however often it ran."""
    kinds: dict[str, Counter[str]] = {}
    for _, provider, kind in sorted(set(_nodes(events))):
        kinds.setdefault(provider, Counter())[kind] += 1
    return Placement({provider: dict(counter) for provider, counter in kinds.items()})


def _nodes(events: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield (name, provider, kind) of every kernel that ran."""
    for event in events:
        arguments = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in arguments and "op_name" in arguments:
            yield f"{event['name']}/{arguments.get('node_index', '')}", arguments["provider"], arguments["op_name"]


def _inputs(path: Path, sides: Manifest | RuledGraph) -> Arrays:
    """Read the recorded requests of a bundle. Raises `ValueError` naming an array that is missing."""
    with np.load(path, allow_pickle=False) as file:
        missing = [t.name for t in sides.inputs if f"input.{t.name}" not in file.files]
        if missing:
            raise ValueError(f"{path}: has no array input.{missing[0]}")
        return {t.name: file[f"input.{t.name}"] for t in sides.inputs}


def _graphs(engine: Engine) -> dict[str, Any]:
    if isinstance(engine, CudaEngine):
        return {"captured": engine.captured, "why_none": engine.why_no_graphs}
    return {"captured": 0, "why_none": "only CUDA has graphs"}


def _table(report: dict[str, Any]) -> str:
    graphs, golden = report["graphs"], report["golden"]
    recorded = golden["error"] or f"{golden['requests']} answered as recorded"
    why = f" ({graphs['why_none']})" if graphs["why_none"] else ""
    lines = [
        f"{report['bundle']}: {report['graph']} ({report['precision']}) on {report['provider']}",
        f"loaded in {report['load_seconds']:.2f} s, warmed in {report['warm_seconds']:.2f} s",
        f"shapes captured as CUDA graphs: {graphs['captured']}{why}",
        f"nodes: {json.dumps(report['placement'])}",
        f"recorded requests: {recorded}",
        "",
        "| batch | runs | p50 ms | p99 ms | rows/s |",
        "|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['batch']} | {r['runs']} | {r['p50_ms']:.3f} | {r['p99_ms']:.3f} | {r['rows_per_second']:.0f} |"
        for r in report["rows"]
    ]
    return "\n".join(lines)


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service.engine_bench", description=__doc__)
    add = parser.add_argument
    add("--bundle", type=Path, metavar="FOLDER", help="the bundle to run")
    add("--ruled", action="store_true", help="time the graph of requests with rules")
    add("--provider", choices=["auto", "cpu", "cuda"], default="auto", help="where it runs (default: %(default)s)")
    add("--threads", type=int, default=1, metavar="N", help="ONNX Runtime threads on CPU (default: %(default)s)")
    add("--batches", type=_sizes, default=list(SIZES), metavar="N,…", help=f"sizes ({','.join(map(str, SIZES))})")
    add("--graphs", action=argparse.BooleanOptionalAction, default=True, help="CUDA: capture graphs (default: yes)")
    add("--runs", type=int, default=2000, help="most timed runs of a size (default: %(default)s)")
    add("--seconds", type=float, default=2.0, help="and most seconds, after 20 runs (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures here too, as they are found")
    add("--probe", action="store_true", help="only say whether the provider works here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
