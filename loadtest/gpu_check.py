"""Hold a GPU's lists to the CPU's, and time engine and service: ``make gpu-check``.

The engine is timed by `service.engine_bench`, the lists are proved by ``tests/cuda``, and the service is timed over
HTTP here. Without CUDA it says so and claims nothing. A part that fails is named and the others still run; the exit
status is then 1. ``--provider cpu`` tries the command itself where there is no GPU. It is run in a checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from loadtest.cost.overhead import measure, summarise
from loadtest.resilience.lifecycle import reload
from loadtest.rig.client import KeepAliveClient
from loadtest.rig.latency import Latency
from loadtest.rig.server import HOST, UNHURRIED
from loadtest.rig.subject import FAILURES, Subject, add_subject_options, subject_from
from loadtest.rig.verdict import markdown
from models.contract.manifest import DEMO_BUNDLE, Manifest

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
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
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


def time_service(subject: Subject, seconds: float) -> str:
    """Time the service over HTTP and reload it twice. Raises one of `FAILURES`."""
    manifest = Manifest.read(subject.bundle)
    memory = [gpu_says("memory.used")]
    with subject.running(options=UNHURRIED) as (server, endpoint):
        rows = []
        for n in CONCURRENCY:
            window = subject.closed(endpoint, seconds, concurrency=n, warm_up=0.3)
            found = Latency.of(window.full_ms())
            rows.append((n, f"{found.p50:.2f}", f"{found.p99:.2f}", f"{found.requests / window.seconds:.0f}"))
        with KeepAliveClient(HOST, server.port) as client:
            alone = summarise(0, 0.0, [measure(client, subject.messages(endpoint), 200)])
        memory.append(gpu_says("memory.used"))
        reloads = [reload(server, manifest.name, manifest.version).seconds for _ in range(2)]
        memory.append(gpu_says("memory.used"))
    used = [str(int(m) - int(memory[0])) if memory[0].isdigit() and m.isdigit() else "–" for m in memory[1:]]
    times = [f"{ms:.2f}" for ms in (alone.total_p50, alone.infer_p50, alone.overhead_p50)]
    ours = ("", *times, ", ".join(f"{s:.2f}" for s in reloads), ", ".join(used))
    return f"{markdown(CLOSED, rows)}\n\n{markdown(ALONE, [ours])}"


def check(options: argparse.Namespace) -> list[str]:
    """Run all parts, print their figures, and return the names of those that failed."""
    on_cpu = options.provider == "cpu"
    ways = [(options.provider, graphs) for graphs in ((False,) if on_cpu else (True, False))]
    failed = []

    def run(name: str, *command: str) -> None:
        print(f"\n## {name}\n", flush=True)
        if subprocess.run([*_MODULE, *command], timeout=_TIMEOUT, check=False).returncode:
            failed.append(name)

    bundles = {precision: options.out / precision / "bench" / "1" for precision in ("fp32", "fp16")}
    for precision in bundles:
        sizes = ("--precision", precision, "--dim", str(options.dim), "--requests", "25")
        run(f"bundle {precision}", "export.bench.bundle", "--out", str(options.out / precision), *sizes)
    run("lists against the CPU's", "pytest", "-q", "-rP", "-m", "not cuda" if on_cpu else "cuda", "tests/cuda")
    for name, bundle in {**bundles, "demo": options.demo}.items():
        for provider, graphs in (*ways, *([] if on_cpu else [("cpu", False)])):
            where = ("--bundle", str(bundle), "--provider", provider, "--graphs" if graphs else "--no-graphs")
            time = ("--seconds", str(options.seconds), "--batches", options.batches)
            run(f"engine: {name}, {provider}, graphs {graphs}", "service.engine_bench", *where, *time)
    for (name, bundle), (provider, graphs) in [(b, way) for b in bundles.items() for way in ways]:
        part = f"service: {name}, {provider}, graphs {graphs}"
        print(f"\n## {part}\n", flush=True)
        served = {"bundles": bundle.parents[1], "bundle": bundle}
        served["serve_options"] = f"--provider {provider} --cuda-graphs {str(graphs).lower()} {options.serve_options}"
        try:
            subject = subject_from(argparse.Namespace(**{**vars(options), **served}), timeout_ms=5000)
            print(time_service(subject, options.seconds), flush=True)
        except FAILURES as error:
            print(error, flush=True)
            failed.append(part)
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    """Check and print; exit with 1 if a part failed, 2 for a bad option."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.gpu_check", description=__doc__)
    add_subject_options(parser)
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
    failed = check(options)
    print(f"\nfailed: {'; '.join(failed)}" if failed else "\nall parts passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
