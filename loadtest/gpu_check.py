"""Hold a GPU's lists to the CPU's, and time engine and service: ``make gpu-check``.

The engine is timed by `service.engine_bench`, the lists are proved by ``tests/cuda``, and the service is timed over
HTTP here, with requests of objects, of columns, and of items in a catalogue. Without CUDA it says so and claims
nothing. A part that fails is named and the others still run; the exit status is then 1. ``--provider cpu`` tries the
command itself where there is no GPU. It is run in a checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from loadtest.cost.overhead import measure, summarise
from loadtest.requests.forms import FORMS, Form
from loadtest.resilience.lifecycle import reload
from loadtest.rig.client import KeepAliveClient
from loadtest.rig.server import UNHURRIED
from loadtest.rig.statistics import Latency
from loadtest.rig.subject import FAILURES, Measured, Subject, command_parser, finite, markdown, subject_from
from models.contract.manifest import DEMO_BUNDLE, Manifest
from models.files import write_json

CONCURRENCY: Final = (1, 2, 4, 8, 16)
CLOSED: Final = ("requests in flight", "p50 ms", "p99 ms", "requests/s")
ALONE: Final = ("one at a time", "total p50 ms", "infer p50 ms", "overhead p50 ms", "reloads s", "GPU MiB, and after")
_NO_PROVIDER: Final = 3
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
    """Parts that run one after the other: names of `failed` ones, `figures` of others."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Choose bundles and ways: a provider, and there CUDA graphs or node by node."""
        self.failed: list[str] = []
        self.figures: dict[str, Any] = {}
        self._options = options
        self._on_cpu = options.provider == "cpu"
        self._ways = [("cpu", False)] if self._on_cpu else [("cuda", True), ("cuda", False)]
        self._bundles = {precision: options.out / precision / "bench" / "1" for precision in ("fp32", "fp16")}

    def run(self) -> None:
        """Run all parts and print their figures."""
        for precision, bundle in self._bundles.items():
            sizes = ("--precision", precision, "--dim", str(self._options.dim), "--requests", "25")
            self._module(f"bundle {precision}", "export.bench.bundle", "--out", str(bundle.parents[1]), *sizes)
        marker = "not cuda" if self._on_cpu else "cuda"
        self._module("lists against the CPU's", "pytest", "-q", "-rP", "-m", marker, "tests/cuda")
        for name, bundle in {**self._bundles, "demo": self._options.demo}.items():
            for provider, graphs in dict.fromkeys([*self._ways, ("cpu", False)]):
                self._engine(f"engine: {name}, {provider}, graphs {graphs}", bundle, provider, graphs=graphs)
        for name, bundle in self._bundles.items():
            for provider, graphs in self._ways:
                way = f"{provider}, graphs {graphs}"
                self._service(f"service: {name}, {way}", bundle, self._serve(provider, graphs=graphs))
            provider, graphs = self._ways[0]
            for form in FORMS[1:]:
                serve = self._serve(provider, graphs=graphs)
                self._service(f"service: {name}, {provider}, graphs {graphs}, {form}", bundle, serve, form=form)

    def _module(self, part: str, *command: str) -> None:
        print(f"\n## {part}\n", flush=True)
        try:
            subprocess.run([*_MODULE, *command], timeout=_TIMEOUT, check=True)
        except subprocess.SubprocessError as error:
            print(error, flush=True)
            self.failed.append(part)

    def _engine(self, part: str, bundle: Path, provider: str, *, graphs: bool) -> None:
        where = ("--bundle", str(bundle), "--provider", provider, "--graphs" if graphs else "--no-graphs")
        time = ("--seconds", str(self._options.seconds), "--batches", self._options.batches)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "engine.json"
            self._module(part, "service.engine_bench", *where, *time, "--json", str(file))
            if file.is_file():
                self.figures[part] = json.loads(file.read_text("utf-8"))

    def _serve(self, provider: str, *, graphs: bool) -> str:
        """Return the options of ``listwright serve`` for a provider."""
        return f"{self._options.serve_options} --provider {provider} --cuda-graphs {str(graphs).lower()}"

    def _service(self, part: str, bundle: Path, serve: str, form: Form = "objects") -> None:
        print(f"\n## {part}\n", flush=True)
        served: dict[str, Any] = {"bundles": bundle.parents[1], "bundle": bundle, "serve_options": serve, "form": form}
        try:
            subject = subject_from(self._options, timeout_ms=5000, count=32, **served)
            text, self.figures[part] = time_service(subject, self._options.seconds)
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
        write_json(options.json, finite({"failed": check.failed, "parts": check.figures}))
    print(f"\nfailed: {'; '.join(check.failed)}" if check.failed else "\nall parts passed")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
