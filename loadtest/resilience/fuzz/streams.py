"""Send wrong byte streams to both ports, and look after the service between them."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections import Counter
from pathlib import Path
from typing import Final

import zstandard

from loadtest.resilience.fuzz.findings import Findings
from loadtest.resilience.fuzz.mutations import StreamCase, make_case, seeds
from loadtest.resilience.fuzz.target import COLUMNS, READ_TIMEOUT, RERANK, Target
from loadtest.resilience.fuzz.wire import Exchange, exchange, judge

GROUP: Final = 200
_OTHERS: Final = (
    *((COLUMNS, ""), (gzip.compress(RERANK, mtime=0), "gzip")),
    (zstandard.ZstdCompressor().compress(COLUMNS), "zstd"),
)
_TOGETHER: Final = 32
_LIMIT: Final = READ_TIMEOUT + 10
_MOST_FAULTS: Final = 50  # More tell nothing new.


def fuzz_streams(target: Target, count: int, seed: int, folder: Path) -> Findings:
    """Send `count` cases in groups; each that fails is kept in `folder`."""
    rng, drafts, findings = random.Random(seed), seeds(RERANK, *_OTHERS), Findings()
    send_group(target, [make_case(random.Random(~seed), drafts) for _ in range(GROUP)])  # Memory of the first time.
    before = target.usage()
    while findings.cases < count and len(findings.unexpected) < _MOST_FAULTS and target.alive:
        cases = [make_case(rng, drafts) for _ in range(min(GROUP, count - findings.cases))]
        for number, (case, result) in enumerate(send_group(target, cases), start=findings.cases):
            fault, statuses = judge_case(case, result)
            findings.statuses.update(statuses)
            if fault is not None:
                path = folder / f"stream-{seed}-{number}.json"
                case.save(path, fault)
                findings.add(f"{fault} [{', '.join(case.done)}]", path)
        findings.cases += len(cases)
        if (fault := target.fault()) is not None:
            findings.add(fault, _keep_culprit(target, cases, folder / f"stream-{seed}-group-{findings.cases}", fault))
    findings.add(target.settled(before))
    after = target.usage()
    findings.figures["resident MiB before, after"] = [round(u.resident / 2**20, 1) for u in (before, after)]
    findings.figures["open files before, after"] = [before.files, after.files]
    return findings


def _keep_culprit(target: Target, cases: list[StreamCase], folder: Path, fault: str) -> Path:
    """Send a group's cases one by one; keep one that fails alone, else all."""
    for case in cases if target.alive else ():
        send_group(target, [case])
        if target.fault() is not None:
            case.save(folder.with_suffix(".json"), fault)
            return folder.with_suffix(".json")
    folder.mkdir(exist_ok=True)
    for number, case in enumerate(cases):
        case.save(folder / f"{number}.json", fault)
    return folder


def send_group(target: Target, cases: list[StreamCase]) -> list[tuple[StreamCase, Exchange]]:
    """Send cases over connections of their own, some at once."""

    async def work() -> list[Exchange]:
        room = asyncio.Semaphore(_TOGETHER)

        async def one(case: StreamCase) -> Exchange:
            async with room:
                return await send_case(target, case)

        return await asyncio.gather(*map(one, cases))

    return list(zip(cases, asyncio.run(work()), strict=True))


def judge_case(case: StreamCase, result: Exchange) -> tuple[str | None, Counter[int]]:
    """Judge what came back for a case; see `wire.judge`."""
    return judge(result, head=case.head, expected=case.expected, most=case.most_answers, sound=case.sound)


async def send_case(target: Target, case: StreamCase) -> Exchange:
    """Send one case; a connection that is refused counts as silence."""
    try:
        return await exchange(
            target.ports[case.port],
            case.packets,
            answers=case.expected,
            patient=case.sound,
            head=case.head,
            limit=_LIMIT,
        )
    except OSError as error:
        return Exchange(f"no connection: {error}".encode(), closed=True, silent=True)
