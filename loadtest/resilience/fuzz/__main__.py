"""Fuzz a service on loopback with requests and with byte streams.

Requests are made from its OpenAPI documents, and the streams go to every URL of both ports.

Unexpected is any 5xx but 501, 505 and a 503 that says so, an answer that is not HTTP or not as documented, a connection
with neither an answer nor an end, an ended process, a traceback in its log, and memory or open files that it keeps.
What was sent is kept in a file: `--replay FILE` sends it again. The exit status is 1 if anything unexpected was found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from loadtest.requests.payloads import from_bundle
from loadtest.resilience.fuzz.findings import Findings
from loadtest.resilience.fuzz.forms import ITEMS, fuzz_forms
from loadtest.resilience.fuzz.mutations import StreamCase
from loadtest.resilience.fuzz.rules import fuzz_rules
from loadtest.resilience.fuzz.streams import fuzz_streams, judge_case, send_case
from loadtest.resilience.fuzz.target import Target, running_target
from loadtest.rig.catalogue import catalogue_of, serving_options
from loadtest.rig.machine import made_with
from models.contract.manifest import EMBEDDED_BUNDLES, MANIFEST_FILE
from models.files import write_json

_WIDTH: Final = 2  # Of embeddings: that of the target's own good request.


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status; see the module."""
    options = _parser().parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if options.replay is not None:
            with running_target(options.bundles, Path(scratch) / "log") as target:
                return replay(target, options.replay)
        print(f"seed {options.seed}", flush=True)
        found = run(options, Path(scratch))
    write_json(options.out / "fuzz.json", {**made_with(options.seed), **{name: f.table() for name, f in found.items()}})
    return 1 if any(findings.unexpected for findings in found.values()) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.resilience.fuzz", description=__doc__)
    add = parser.add_argument
    add("--bundles", type=Path, default=EMBEDDED_BUNDLES, help="folder of bundles (the embedded one)")
    add("--schema-cases", type=int, default=3000, help="requests made from the OpenAPI documents (3000)")
    add("--rule-cases", type=int, default=2000, help="requests with rules, right and wrong (2000)")
    add("--form-cases", type=int, default=2000, help="requests in all forms and codings, right and wrong (2000)")
    add("--stream-cases", type=int, default=18_000, help="byte streams (18000)")
    add("--seed", type=int, default=1, help="seed of all cases (1)")
    add("--out", type=Path, default=Path("reports/fuzz"), help="folder for the report and failing cases (reports/fuzz)")
    add("--replay", type=Path, metavar="FILE", help="send a case that was kept again, and show the answer")
    return parser


def run(options: argparse.Namespace, scratch: Path) -> dict[str, Findings]:
    """Fuzz with all makers, each against a service of its own, and print the summaries."""
    found: dict[str, Findings] = {}
    if options.schema_cases:
        from loadtest.resilience.fuzz.schemas import fuzz_schemas

        with running_target(options.bundles, scratch / "schemas.log") as target:
            found["schemas"] = _timed(fuzz_schemas, target, options.schema_cases, options)
        print(found["schemas"].render("schemas"), flush=True)
    if options.rule_cases:
        with running_target(options.bundles, scratch / "rules.log") as target:
            found["rules"] = _timed(fuzz_rules, target, options.rule_cases, options)
        print(found["rules"].render("rules"), flush=True)
    if options.form_cases:
        found["forms"] = _forms(options, scratch)
        print(found["forms"].render("forms"), flush=True)
    if options.stream_cases:
        with running_target(options.bundles, scratch / "streams.log") as target:
            found["streams"] = _timed(fuzz_streams, target, options.stream_cases, options)
        print(found["streams"].render("streams"), flush=True)
    return found


def _forms(options: argparse.Namespace, scratch: Path) -> Findings:
    """Fuzz a service that has a catalogue of the items that the requests name."""
    bundle = sorted(path.parent for path in options.bundles.glob(f"*/*/{MANIFEST_FILE}"))[0]
    source = from_bundle(bundle, seed=options.seed, embedding_width=_WIDTH, items=ITEMS)
    catalogue = catalogue_of(bundle, ITEMS, seed=options.seed, embedding_width=_WIDTH)
    with running_target(options.bundles, scratch / "forms.log", serving_options(catalogue)) as target:
        return _timed(partial(fuzz_forms, source), target, options.form_cases, options)


def _timed(
    work: Callable[[Target, int, int, Path], Findings], target: Target, count: int, options: argparse.Namespace
) -> Findings:
    began = time.monotonic()
    findings = work(target, count, options.seed, options.out)
    findings.figures["seconds"] = round(time.monotonic() - began, 1)
    return findings


def replay(target: Target, path: Path) -> int:
    """Send a case that was kept and show what comes back; return the exit status."""
    case = StreamCase.load(path)
    result = asyncio.run(send_case(target, case))
    fault, _ = judge_case(case, result)
    fault = fault or target.fault()
    print(json.dumps({"port": case.port, "done": case.done, "closed": result.closed, "silent": result.silent}))
    for packet in case.packets:
        print(f"> {packet[:2000]!r}")
    print(f"< {result.received[:2000]!r}")
    print(fault or "as expected")
    return 1 if fault else 0


if __name__ == "__main__":
    raise SystemExit(main())
