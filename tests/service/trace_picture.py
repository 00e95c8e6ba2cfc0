"""Make the picture of one request's trace in docs/operations.md: ``python -m tests.service.trace_picture``.

A service with the demo bundle answers requests of 100 candidates and exports its spans to a collector. One of the
quickest is drawn, as the machine may have other work, with the times that it had: they differ from run to run.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from loadtest.demo_requests import read_demo_requests
from loadtest.rig.server import running_server
from models.contract.manifest import DEMO_BUNDLE
from tests.documents import ROOT
from tests.service.live import WAIT_SECONDS
from tests.service.otlp import Span, collecting

PICTURE: Final = ROOT / "docs" / "traces" / "request.svg"
SHOWN: Final = (
    *("http.response.status_code", "listwright.outcome", "listwright.choice", "listwright.model"),
    *("listwright.version", "listwright.candidates", "listwright.batch_size", "listwright.key"),
)
"""Attributes that the picture has room for."""

REQUESTS: Final = 101
CANDIDATES: Final = 100
WIDTH, LEFT, RIGHT, TOP, ROW = 900, 150, 100, 96, 28
PLOT: Final = WIDTH - LEFT - RIGHT
# Each text stands on the ground of the picture, so it can be read on light and on dark pages.
STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #1c2430 }
.ground { fill: #ffffff; stroke: #d5dae1 } .quiet { fill: #566173 } .line { stroke: #e3e7ec }
.server { fill: #3a5f96 } .own { fill: #2f7f74 } .wait { fill: #b9852a } .infer { fill: #8a4fa3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6eaf0 }
.ground { fill: #12171f; stroke: #39424f } .quiet { fill: #a3aebd } .line { stroke: #2a323d }
.server { fill: #7ba2dd } .own { fill: #58b8aa } .wait { fill: #e0b35e } .infer { fill: #c08fd6 }
}"""


def draw(spans: Sequence[Span]) -> str:
    """Draw a trace as SVG: a row for each span, the first of which spans them all."""
    root = spans[0]
    height = TOP + ROW * len(spans) + 40
    step = next(s for s in _steps() if root.seconds * 1e3 / s <= 8)
    title = f"A trace of one request: {root.name}, {root.seconds * 1e3:.2f} ms"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">',
        f'<title id="title">{escape(title)}</title>',
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        f'<text x="16" y="26" font-weight="600">trace {root.trace_id}</text>',
    ]
    shown = [f"{name} = {root.attributes[name]}" for name in SHOWN if name in root.attributes]
    for i, line in enumerate((shown[:4], shown[4:])):
        parts.append(f'<text class="quiet" x="16" y="{47 + 19 * i}">{escape(",  ".join(line))}</text>')
    bottom = TOP + ROW * len(spans)
    for tick in itertools.takewhile(lambda t: t <= root.seconds * 1e3, (step * i for i in itertools.count())):
        x = LEFT + PLOT * tick / (root.seconds * 1e3)
        parts.append(f'<path class="line" d="M{x:.1f} {TOP - 6}V{bottom}"/>')
        parts.append(f'<text class="quiet" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g} ms</text>')
    for i, span in enumerate(spans):
        parts += _row(span, root, TOP + ROW * i)
    return "\n".join([*parts, "</svg>", ""])


def _row(span: Span, root: Span, y: int) -> Iterator[str]:
    whole = root.end - root.start
    x, width = LEFT + PLOT * (span.start - root.start) / whole, PLOT * (span.end - span.start) / whole
    kind = "server" if span is root else span.name if span.name in ("wait", "infer") else "own"
    indent = 16 if span is root else 30
    yield f'<text x="{indent}" y="{y + 17}">{escape(span.name)}</text>'
    yield f'<rect class="{kind}" x="{x:.1f}" y="{y + 4}" width="{max(width, 1.5):.1f}" height="{ROW - 10}" rx="2"/>'
    at = f'x="{x + width + 6:.1f}"' if x + width < WIDTH - RIGHT - 60 else f'x="{WIDTH - 16}" text-anchor="end"'
    yield f'<text class="quiet" {at} y="{y + 17}">{span.seconds * 1e3:.2f} ms</text>'


def _steps() -> Iterator[float]:
    """Yield 0.1, 0.2, 0.5, 1, 2, 5, … milliseconds."""
    for power in itertools.count(-1):
        yield from (base * 10**power for base in (1, 2, 5))


def request_of_many() -> dict[str, Any]:
    """Make one request of the candidates of several demo requests."""
    found = read_demo_requests()
    candidates = [candidate for one in found for candidate in one["candidates"]][:CANDIDATES]
    return {**found[0], "candidates": [{**c, "id": f"item-{i}"} for i, c in enumerate(candidates)]}


def record() -> list[Span]:
    """Serve the demo bundle, and return the spans of one request in order."""
    body = json.dumps(request_of_many()).encode()
    with collecting() as collector, tempfile.TemporaryDirectory() as folder:
        shutil.copytree(DEMO_BUNDLE, Path(folder) / "demo" / "1")
        options = ("--otlp-endpoint", collector.url, "--trace-share", "1", "--deadline-mode", "observe")
        with running_server(Path(folder), options=options) as server:
            for _ in range(REQUESTS):
                sent = urllib.request.Request(f"{server.url}/v1/rerank", body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(sent, timeout=WAIT_SECONDS) as answer:
                    answer.read()
        roots = sorted((span for span in collector.spans if not span.parent_id), key=lambda span: span.seconds)
        chosen = roots[len(roots) // 50]
        return sorted(
            (span for span in collector.spans if span.trace_id == chosen.trace_id),
            key=lambda span: (span.parent_id != "", span.start),
        )


def main() -> int:
    """Record a trace and draw it."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(record()), "utf-8")
    print(PICTURE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
