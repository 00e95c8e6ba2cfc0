"""Hold a GPU's lists to the CPU's, and time engine and service: ``make gpu-check``.

The engine is timed by `service.engine_bench`, the lists are proved by ``tests/cuda``, and the service is timed over
HTTP here: first in one process and with workers that feed an engine process (*scaling*), then with requests of
objects, of columns, and of items in a catalogue. The cost sheet (*sheet*) has the engine's lists/s by the model's width
and the list's length. Without CUDA it says so and claims nothing. A part that fails is named
and the others still run; the exit status is then 1. Where time is short, ``--only`` names the sections that are wanted,
and what ``--time-limit`` leaves no time for is named and not begun. ``--provider cpu`` tries the command itself where
there is no GPU. It is run in a checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from loadtest.cost import sheet
from loadtest.cost.overhead import measure, summarise
from loadtest.cost.scaling import Layout, time_layout
from loadtest.requests.forms import FORMS, Form
from loadtest.resilience.lifecycle import reload
from loadtest.rig.client import KeepAliveClient
from loadtest.rig.server import UNHURRIED
from loadtest.rig.statistics import Latency
from loadtest.rig.subject import FAILURES, Measured, Subject, command_parser, finite, markdown, subject_from
from models.contract.manifest import DEMO_BUNDLE, MANIFEST_FILE, Manifest
from models.files import write_json

CONCURRENCY: Final = (1, 2, 4, 8, 16)
SMALL_BATCHES: Final = "2,4,8"
SCALED: Final = "fp32"
"""The precision of that section: a float16 bundle of random weights may be refused when it is loaded."""

CLOSED: Final = ("requests in flight", "p50 ms", "p99 ms", "requests/s")
ALONE: Final = ("one at a time", "total p50 ms", "infer p50 ms", "overhead p50 ms", "reloads s", "GPU MiB, and after")
SECTIONS: Final = ("lists", "scaling", "sheet", "engine", "service")
"""What there is to check, in this order."""

_WITHOUT_FP16: Final = frozenset(("lists", "scaling", "sheet"))

_NO_PROVIDER: Final = 3
_LEAST_SECONDS: Final = 20.0
"""A part is not begun with less time left."""

_TIMEOUT: Final = 600.0
_MODULE: Final = (sys.executable, "-m")


def why_not(provider: str) -> str | None:
    """Return the fault of a provider here, or None. Raises `ValueError` if asking fails.

    It is asked in a process of its own, since a provider that half loads may end it.
    """
    command = [*_MODULE, "service.engine_bench", "--probe", "--provider", provider]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"asking for the provider took longer than {_TIMEOUT:g} s") from None
    if done.returncode == _NO_PROVIDER:
        return (done.stdout.strip().splitlines() or ["no reason was given"])[-1]
    if done.returncode:
        raise ValueError(f"asking for the provider ended with status {done.returncode}: {done.stderr.strip()[-1000:]}")
    return None


def gpu_says(fields: str) -> str:
    """Return fields of the first GPU from `nvidia-smi`; empty without one."""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.partition("\n")[0]
    return ""


def time_service(subject: Subject, seconds: float) -> Measured:
    """Time the service over HTTP and reload it twice. Raises one of `FAILURES`."""
    manifest = Manifest.read(subject.bundle)
    memory = [gpu_says("memory.used")]
    with subject.running(defaults=UNHURRIED) as (server, endpoint):
        closed = []
        for n in CONCURRENCY:
            window = subject.closed(endpoint, seconds, concurrency=n, warm_up=0.3)
            found = Latency.of(window.full_ms())
            closed.append((n, found.p50, found.p99, found.requests / window.seconds))
        with KeepAliveClient(server.port) as client:
            alone = summarise(0, 0.0, [measure(client, subject.messages(endpoint), 200)])
        memory.append(gpu_says("memory.used"))
        reloads = [reload(server, manifest.name, manifest.version).seconds for _ in range(2)]
        memory.append(gpu_says("memory.used"))
    used = [int(m) - int(memory[0]) if memory[0].isdigit() and m.isdigit() else None for m in memory[1:]]
    rows = [(n, f"{p50:.2f}", f"{p99:.2f}", f"{rate:.0f}") for n, p50, p99, rate in closed]
    times = [f"{ms:.2f}" for ms in (alone.total_p50, alone.infer_p50, alone.overhead_p50)]
    mib = ["–" if m is None else str(m) for m in used]
    ours = ("", *times, ", ".join(f"{s:.2f}" for s in reloads), ", ".join(mib))
    figures: dict[str, Any] = {
        "closed": [dict(zip(CLOSED, row, strict=True)) for row in closed],
        "alone": asdict(alone),
    }
    figures |= {"reloads_s": reloads, "gpu_mib": used}
    return f"{markdown(CLOSED, rows)}\n\n{markdown(ALONE, [ours])}", figures


class GpuCheck:
    """Parts that run one after the other: names of `failed` ones, `figures` of others.

    `left_out` are those that there was no time for.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Choose bundles and ways: a provider, and there CUDA graphs or node by node."""
        self.failed: list[str] = []
        self.left_out: list[str] = []
        self.figures: dict[str, Any] = {}
        self._options = options
        self._ends = time.monotonic() + options.time_limit if options.time_limit else math.inf
        self._on_cpu = options.provider == "cpu"
        self._ways = [("cpu", False)] if self._on_cpu else [("cuda", True), ("cuda", False)]
        self._bundles = {precision: options.out / precision / "bench" / "1" for precision in ("fp32", "fp16")}

    def run(self) -> None:
        """Run all parts that are wanted, and print their figures."""
        self._make_bundles()
        sections = {
            "lists": self._lists,
            "scaling": self._scaling,
            "sheet": self._sheet,
            "engine": self._engines,
            "service": self._services,
        }
        for name in SECTIONS:
            if name in self._options.only:
                sections[name]()

    def _make_bundles(self) -> None:
        only = set(self._options.only)
        wanted = set() if only == {"sheet"} else {SCALED} if only <= _WITHOUT_FP16 else self._bundles.keys()
        for precision, bundle in self._bundles.items():
            if precision in wanted:
                sizes = ("--precision", precision, "--dim", str(self._options.dim), "--requests", "25")
                self._make_bundle(f"bundle {precision}", bundle, *sizes)

    def _make_bundle(self, part: str, bundle: Path, *sizes: str) -> None:
        if not (self._options.keep_bundles and (bundle / MANIFEST_FILE).is_file()):
            self._module(part, "export.bench.bundle", "--out", str(bundle.parents[1]), *sizes)

    def _lists(self) -> None:
        marker = "not cuda" if self._on_cpu else "cuda"
        self._module("lists against the CPU's", "pytest", "-q", "-rP", "-m", marker, "tests/cuda")

    def _scaling(self) -> None:
        """Time layouts of processes; then the engine alone with the batches that these leave open."""
        provider, graphs = self._ways[0]
        layouts = [Layout(workers) for workers in (0, *self._options.workers)]
        for layout in layouts:
            part = f"scaling: {provider}, graphs {graphs}, {layout.name}"
            self._layout(part, self._bundles[SCALED], self._serve(provider, graphs=graphs), layout)
        if "engine" not in self._options.only:
            part = f"engine: {SCALED}, {provider}, graphs {graphs}, batches {SMALL_BATCHES}"
            self._engine(part, self._bundles[SCALED], provider, graphs=graphs, batches=SMALL_BATCHES)

    def _sheet(self) -> None:
        """Time the engine with models of several sizes, and print one table of them.

        Their bundles take minutes, so they are written here, where the sections before have ended.
        """
        (provider, graphs), found = self._ways[0], {}
        for size in sheet.SIZES:
            part = f"sheet: {size.name}, {provider}, graphs {graphs}"
            bundle = size.root(self._options.out) / "bench" / "1"
            self._make_bundle(f"bundle {size.name}", bundle, *size.options)
            self._engine(part, bundle, provider, graphs=graphs, batches=sheet.BATCHES, seconds=sheet.SECONDS)
            found[size] = self.figures.get(part, {})
        if any(found.values()):
            print(f"\n## cost sheet: {provider}, graphs {graphs}\n\n{sheet.sheet(found)}", flush=True)

    def _engines(self) -> None:
        for name, bundle in {**self._bundles, "demo": self._options.demo}.items():
            for provider, graphs in dict.fromkeys([*self._ways, ("cpu", False)]):
                self._engine(f"engine: {name}, {provider}, graphs {graphs}", bundle, provider, graphs=graphs)

    def _services(self) -> None:
        for name, bundle in self._bundles.items():
            for provider, graphs in self._ways:
                way = f"{provider}, graphs {graphs}"
                self._service(f"service: {name}, {way}", bundle, self._serve(provider, graphs=graphs))
            provider, graphs = self._ways[0]
            for form in FORMS[1:]:
                serve = self._serve(provider, graphs=graphs)
                self._service(f"service: {name}, {provider}, graphs {graphs}, {form}", bundle, serve, form=form)

    def _module(self, part: str, *command: str) -> None:
        if not self._begin(part):
            return
        try:
            seconds = min(_TIMEOUT, self._ends - time.monotonic())
            subprocess.run([*_MODULE, *command], timeout=seconds, check=True)
        except subprocess.SubprocessError as error:
            print(error, flush=True)
            self.failed.append(part)

    def _begin(self, part: str) -> bool:
        """Print a part's heading, unless there is no time for it."""
        if self._ends - time.monotonic() < _LEAST_SECONDS:
            self.left_out.append(part)
            return False
        print(f"\n## {part}\n", flush=True)
        return True

    def _engine(
        self, part: str, bundle: Path, provider: str, *, graphs: bool, batches: str = "", seconds: float = 0.0
    ) -> None:
        where = ("--bundle", str(bundle), "--provider", provider, "--graphs" if graphs else "--no-graphs")
        times = ("--seconds", str(seconds or self._options.seconds), "--batches", batches or self._options.batches)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "engine.json"
            self._module(part, "service.engine_bench", *where, *times, "--json", str(file))
            if file.is_file():
                self.figures[part] = json.loads(file.read_text("utf-8"))

    def _serve(self, provider: str, *, graphs: bool) -> str:
        """Return the options of ``listwright serve`` for a provider."""
        return f"{self._options.serve_options} --provider {provider} --cuda-graphs {str(graphs).lower()}"

    def _layout(self, part: str, bundle: Path, serve: str, layout: Layout) -> None:
        """Time one layout on all CPUs but the client's, where there are several."""
        cpus = max(1, len(os.sched_getaffinity(0)) - 1)
        served: dict[str, Any] = {"bundles": bundle.parents[1], "bundle": bundle, "serve_options": serve}
        self._timed(
            part,
            lambda subject: time_layout(subject, layout, self._options.in_flight, self._options.seconds),
            {**served, "cpus": cpus, "form": "objects"},
        )

    def _service(self, part: str, bundle: Path, serve: str, form: Form = "objects") -> None:
        served: dict[str, Any] = {"bundles": bundle.parents[1], "bundle": bundle, "serve_options": serve, "form": form}
        self._timed(part, lambda subject: time_service(subject, self._options.seconds), served)

    def _timed(self, part: str, work: Callable[[Subject], Measured], served: Mapping[str, Any]) -> None:
        """Do a part that times a service."""
        if not self._begin(part):
            return
        try:
            text, self.figures[part] = work(subject_from(self._options, timeout_ms=5000, count=32, **served))
            print(text, flush=True)
        except FAILURES as error:
            print(error, flush=True)
            self.failed.append(part)


def main(argv: Sequence[str] | None = None) -> int:
    """Check and print; exit with 1 if a part failed, 2 for a bad option."""
    parser = command_parser("loadtest.gpu_check", __doc__, without=("--bundles", "--bundle", "--form"))
    add = parser.add_argument
    add("--provider", choices=["cpu", "cuda"], default="cuda", help="cpu tries this command itself (cuda)")
    add("--out", type=Path, default=Path("build/gpu-check"), help="folder of the bundles (%(default)s)")
    add("--demo", type=Path, default=DEMO_BUNDLE, help="a bundle to time as well (the embedded one)")
    add("--batches", default="1,2,4,8,16,32,64", help="batches of the engine (%(default)s)")
    add("--seconds", type=float, default=1.5, help="length of each measurement (1.5)")
    add("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections that are wanted (all)")
    add("--workers", type=int, nargs="+", default=[1, 4, 12], help="workers that feed an engine process (1 4 12)")
    add(
        "--in-flight",
        type=int,
        nargs="+",
        default=[16, 64, 128, 256],
        help="requests in flight of scaling (16 64 128 256)",
    )
    add("--time-limit", type=float, default=0.0, help="seconds after which no part is begun (0: none)")
    add("--keep-bundles", action="store_true", help="use the bundles that --out has already")
    add("--dim", type=int, default=128, help="width of the model with random weights (128)")
    options = parser.parse_args(argv)
    try:
        if problem := why_not(options.provider):
            print(f"gpu-check: nothing was checked and nothing is claimed, for there is no GPU to use here: {problem}")
            return 0
    except ValueError as error:
        parser.exit(2, f"gpu-check: {error}\n")
    print("The CPU stands in for a GPU." if options.provider == "cpu" else gpu_says("name,driver_version,memory.total"))
    check = GpuCheck(options)
    check.run()
    if options.json:
        write_json(options.json, finite({"failed": check.failed, "left_out": check.left_out, "parts": check.figures}))
    if check.left_out:
        print(f"\nno time was left for: {'; '.join(check.left_out)}")
    print(
        f"\nfailed: {'; '.join(check.failed)}"
        if check.failed
        else f"\nall parts {'begun ' if check.left_out else ''}passed"
    )
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
