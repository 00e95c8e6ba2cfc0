"""Prove a GPU's lists against the CPU's, time its engine and the service on it, and write a report: `make gpu-check`.

Where CUDA does not work it says so and claims nothing. Every step runs alone: one that fails is reported as failed,
with exit status 1 in the end, and the others still run. Bundles, figures and report stay in the folder of ``--out`` and
are written as they come, so that a run that is cut off has left what it had found. ``--only parity`` needs no GPU: it
holds what the engine answered there to the CPU that it runs on, and completes the report.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from loadtest.gpu_plan import CPU, GRAPHS, Contestant, Plan, about, save_requests
from loadtest.gpu_report import markdown
from loadtest.gpu_service import ServiceRun, measure_service

GROUPS: Final = ("bundles", "engine", "parity", "service")
REPORT: Final = "report"
_NO_PROVIDER: Final = 3
_ENGINE_TIMEOUT: Final = 150.0
_BUNDLE_TIMEOUT: Final = 180.0

Step = tuple[str, str, Callable[[], object]]
"""Group, name, and work whose result is kept under both; what it raises is the step's failure."""


class StepError(RuntimeError):
    """A step that failed; the message says how."""


class GpuCheck:
    """One run: its steps, and the report that they fill."""

    def __init__(self, plan: Plan, groups: Sequence[str]) -> None:
        """Run `groups`; what an earlier run in the same folder found in others is kept."""
        self._plan = plan
        self._groups = groups
        self._started = time.perf_counter()
        self.report: dict[str, Any] = {"about": about(plan), "steps": [], **{group: {} for group in GROUPS}}
        earlier = plan.out / f"{REPORT}.json"
        if earlier.is_file() and not {"engine", "bundles"} & set(groups):
            kept = json.loads(earlier.read_text("utf-8"))
            self.report.update({key: kept[key] for key in kept if key not in groups})
            self.report["steps"] = [step for step in kept["steps"] if step["group"] not in groups]

    def run(self) -> bool:
        """Run the steps, in their order; whether none has failed, an earlier run's included."""
        for group, name, work in self._steps():
            if group in self._groups:
                self._run(group, name, work)
        return all(step["error"] is None for step in self.report["steps"])

    def _steps(self) -> list[Step]:
        plan = self._plan
        return [
            *(("bundles", name, lambda name=name: self._bundle(name)) for name in plan.made),
            *(("engine", str(c), lambda c=c: self._engine(c)) for c in plan.contestants),
            *(("parity", str(c), lambda c=c: self._parity(c)) for c in plan.contestants if c.held_to_cpu),
            *(("service", str(c), lambda c=c: self._service(c)) for c in plan.served),
        ]

    def _run(self, group: str, name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        self._say(f"{group}: {name} …")
        error = None
        try:
            result = work()
        except Exception as failure:  # Whatever a step meets, the others are still worth having.
            error = str(failure) or repr(failure)
        else:
            if result is not None:
                self.report[group][name] = result
        seconds = time.perf_counter() - began
        self.report["steps"].append({"group": group, "name": name, "seconds": round(seconds, 2), "error": error})
        self._say(f"{group}: {name} " + (f"done in {seconds:.1f} s" if error is None else f"FAILED: {error}"))
        self._write()

    def _say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self._started:6.1f} s] {text}", flush=True)

    def _write(self) -> None:
        out = self._plan.out
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{REPORT}.json").write_text(json.dumps(self.report, indent=1) + "\n", "utf-8")
        (out / f"{REPORT}.md").write_text(markdown(self.report), "utf-8")

    def _bundle(self, name: str) -> None:
        self._subprocess("bundle", name, self._plan.bundle_command(name), _BUNDLE_TIMEOUT)

    def _engine(self, contestant: Contestant) -> dict[str, Any]:
        """What the engine's own benchmark wrote, kept even if it failed later."""
        plan = self._plan
        figures = plan.file("engine", contestant, "json")
        figures.unlink(missing_ok=True)
        save_requests(plan, contestant.bundle)
        try:
            self._subprocess("engine", str(contestant), plan.engine_command(contestant), _ENGINE_TIMEOUT)
        except StepError:
            if figures.is_file():
                self.report["engine"][str(contestant)] = json.loads(figures.read_text("utf-8"))
            raise
        found: dict[str, Any] = json.loads(figures.read_text("utf-8"))
        return found

    def _parity(self, contestant: Contestant) -> dict[str, Any]:
        from loadtest.gpu_parity import hold_to_cpu  # needs onnx, and for float16 PyTorch

        found = hold_to_cpu(self._plan, contestant)
        self.report["parity"][str(contestant)] = found
        if failed := [name for name, part in found.items() if not part["holds"]]:
            raise StepError(f"answers are not those of the CPU: {', '.join(failed)}")
        return found

    def _service(self, contestant: Contestant) -> dict[str, Any]:
        plan = self._plan
        run = ServiceRun(
            bundle=plan.folder(contestant.bundle),
            options=contestant.serve_options,
            requests=plan.service_requests,
            seed=plan.seed,
        )
        return measure_service(run, plan.file("service", contestant, "log"))

    def _subprocess(self, kind: str, name: str, command: Sequence[str], timeout: float) -> None:
        """Raises `StepError` with the last lines of what it wrote."""
        log = self._plan.out / "logs" / f"{kind} {name}.log".replace(" ", "-")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            try:
                status = subprocess.run(command, stdout=file, stderr=file, timeout=timeout, check=False).returncode
            except subprocess.TimeoutExpired:
                raise StepError(f"was stopped after {timeout:.0f} s{_end_of(log)}") from None
        if status:
            raise StepError(f"ended with status {status}{_end_of(log)}")


def _end_of(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return "".join(f"\n    {line[:300]}" for line in lines[-12:])


def why_not(provider: str) -> str | None:
    """What keeps a provider from working here, in ONNX Runtime's words; None if nothing does.

    Asked in a process of its own, as a provider that half loads may end it. Raises `StepError` if that is what happens.
    """
    command = [sys.executable, "-m", "service.engine_bench", "--probe", "--provider", provider]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_ENGINE_TIMEOUT, check=False)
    if done.returncode == _NO_PROVIDER:
        return (done.stdout.strip().splitlines() or ["no reason was given"])[-1]
    if done.returncode:
        raise StepError(f"asking for the provider ended with status {done.returncode}: {done.stderr.strip()[-1000:]}")
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status is 0 if all steps passed or there is no GPU, 1 if one failed, 2 if nothing could be tried."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        plan = Plan.of(options)
        problem = why_not(options.provider) if set(options.only) - {"parity"} else None
    except (StepError, ValueError) as error:
        parser.exit(2, f"gpu-check: {error}\n")
    if problem is not None:
        print(f"gpu-check: nothing was checked and nothing is claimed, for there is no GPU to use here: {problem}")
        return 0
    check = GpuCheck(plan, options.only)
    passed = check.run()
    print(markdown(check.report))
    print(f"report: {plan.out / REPORT}.md and .json; " + ("all steps passed" if passed else "STEPS FAILED"))
    return 0 if passed else 1


def _groups(text: str) -> list[str]:
    groups = text.split(",")
    if unknown := [group for group in groups if group not in GROUPS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(GROUPS)}")
    return groups


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.gpu_check", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, default=Path("reports/gpu-check"), help="folder of the report (default: %(default)s)")
    add("--only", type=_groups, default=list(GROUPS), metavar="GROUP,…", help=f"of {','.join(GROUPS)} (all)")
    add("--quick", action="store_true", help="a third of the time: fewer runs and requests")
    add("--demo", type=Path, default=Path("bundles/demo/1"), help="a bundle to check as well (default: %(default)s)")
    add("--requests", type=int, default=200, help="requests to prove parity with (default: %(default)s)")
    add("--dim", type=int, default=128, help="width of the model with random weights (default: %(default)s)")
    add("--layers", type=int, default=3, help="its layers (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of weights and requests (default: %(default)s)")
    add(
        "--provider",
        choices=[CPU, GRAPHS.provider],
        default=GRAPHS.provider,
        help="cpu tries this command itself where there is no GPU: its figures are no GPU's (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
