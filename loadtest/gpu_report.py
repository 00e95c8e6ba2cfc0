"""The report of `loadtest.gpu_check` as Markdown. Takes the figures as they stand in its JSON; what is missing is left
out, since a run may have been cut off anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Figures = Mapping[str, Any]
_ENGINE: Final = ("batch", "p50 ms", "p99 ms", "rows/s")


def markdown(report: Figures) -> str:
    """The whole report."""
    parts = [*_about(report["about"]), *_steps(report["steps"])]
    if report["parity"]:
        parts += ["", "## Parity with the CPU", "", *_parity(report["parity"])]
    if report["engine"]:
        parts += ["", "## Engine", "", *_engine(report["engine"])]
    if report["service"]:
        parts += ["", "## Service", "", *_service(report["service"])]
    return "\n".join(parts) + "\n"


def _about(about: Figures) -> Iterator[str]:
    yield "# GPU check"
    yield ""
    if about["provider"] == "cpu":
        yield "**The CPU stood in for a GPU: this shows that the command works, and nothing about any GPU.**"
        yield ""
    model = ", ".join(f"{name} {value}" for name, value in about["model"].items())
    yield from _bullets(
        {
            "date": about["date"],
            "GPU": "; ".join(about["cards"]) or "none seen by nvidia-smi",
            "machine": about["machine"],
            "versions": ", ".join(f"{name} {value}" for name, value in about["versions"].items()),
            "command": f"`{about['command']}`",
            "model": f"random weights, {model}; demo: the embedded bundle",
            "seed": about["seed"],
            "requests for parity": about["parity_requests"],
            "runs": "few (--quick)" if about["quick"] else "full",
        }
    )


def _steps(steps: Sequence[Figures]) -> Iterator[str]:
    failed = [step for step in steps if step["error"] is not None]
    yield ""
    yield f"{len(steps) - len(failed)} of {len(steps)} steps passed in {sum(s['seconds'] for s in steps):.0f} s."
    for step in failed:
        yield f"- **failed**: {step['group']}, {step['name']}: {' '.join(step['error'].split())[:600]}"


def _parity(parity: Mapping[str, Mapping[str, Figures]]) -> Iterator[str]:
    yield "Same lists but for near ties; float16 instead by the list value that it loses under the exact model."
    yield ""
    yield from _header(
        ("engine", "batches", "requests", "same lists", "near ties", "different", "largest margin", "largest error")
    )
    for name, runs in parity.items():
        for run, found in runs.items():
            counts = [found.get(key, "–") for key in ("requests", "same", "near_ties", "different")]
            sizes = [_scientific(found.get(key)) for key in ("largest_margin", "largest_error")]
            yield _row((name, run, *counts, *sizes))
    for name, runs in parity.items():
        for run, found in runs.items():
            if "lost_percent" in found:
                yield f"\n{name}, {run}: lists lose {found['lost_percent']:.4f}% of their value " + (
                    f"(the worst {found['worst_percent']:.3f}%, at most {found['most_lost_percent']:g}% in all)"
                )
            if not found["holds"]:
                yield f"\n**{name}, {run}: does not hold.** {found.get('why_not', '')}"


def _engine(engines: Mapping[str, Figures]) -> Iterator[str]:
    for name, found in engines.items():
        yield f"**{name}**: {'; '.join(_how(found))}"
        yield ""
        if found.get("rows"):
            yield from _header(_ENGINE)
            for r in found["rows"]:
                yield _row((r["batch"], f"{r['p50_ms']:.3f}", f"{r['p99_ms']:.3f}", f"{r['rows_per_second']:.0f}"))
            yield ""


def _how(found: Figures) -> Iterator[str]:
    """How an engine ran, as far as it got."""
    if "load_seconds" in found:
        yield f"loaded in {found['load_seconds']:.2f} s, warmed in {found['warm_seconds']:.2f} s"
    if graphs := found.get("graphs"):
        why = f" ({graphs['why_none']})" if graphs["why_none"] else ""
        yield f"{graphs['captured']} shapes captured{why}"
    if nodes := found.get("placement"):
        if "error" in nodes:
            yield f"placement unknown: {nodes['error']}"
        else:
            kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(nodes["elsewhere"].items())) or "none"
            yield f"{nodes['nodes']} nodes on the provider, elsewhere: {kinds}; copies: {nodes['copies']}"
    if golden := found.get("golden"):
        yield golden["error"] or f"{golden['requests']} recorded requests answered as recorded"


def _service(services: Mapping[str, Figures]) -> Iterator[str]:
    yield "Closed loops over HTTP, times at the client."
    yield ""
    yield from _header(("engine", "concurrency", "p50 ms", "p99 ms", "requests/s"))
    for name, found in services.items():
        for r in found["rows"]:
            yield _row((name, r["concurrency"], f"{r['p50_ms']:.2f}", f"{r['p99_ms']:.2f}", f"{r['rate']:.0f}"))
    yield ""
    yield "One at a time: the whole, inference inside the service, and what the service adds. Memory is the GPU's, MiB."
    yield ""
    columns = ("total", "infer", "overhead")
    yield from _header(
        (
            "engine",
            *(f"{c} p50 ms" for c in columns),
            "overhead p99 ms",
            "ready s",
            "reloads s",
            "memory",
            "after reload",
        )
    )
    for name, found in services.items():
        times = [f"{found['overhead'][f'{c}_p50_ms']:.2f}" for c in columns]
        reloads = ", ".join(f"{seconds:.2f}" for seconds in found["reload_seconds"])
        memory = [_known(found[key]) for key in ("memory_mb", "memory_after_reload_mb")]
        tail = (f"{found['overhead']['overhead_p99_ms']:.2f}", f"{found['ready_seconds']:.1f}", reloads, *memory)
        yield _row((name, *times, *tail))


def _bullets(facts: Mapping[str, Any]) -> Iterator[str]:
    return (f"- {name}: {value}" for name, value in facts.items())


def _header(names: Sequence[str]) -> Iterator[str]:
    yield _row(names)
    yield _row(["---"] + ["---:"] * (len(names) - 1))


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _scientific(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def _known(value: int | None) -> str:
    return "–" if value is None else str(value)
