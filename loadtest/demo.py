"""Serve the embedded bundle and show re-ranked lists under different weights: ``make demo``.

The value of each list is shown as the model estimates it, and as it truly is in the simulator that made the requests.
Then the same with a scene, whose rules pin an item and cap brands, and with a catalogue of the items, so that requests
name them only; and 300 quick requests, for p50 and p99 against the budget. Needs the serving install only (no PyTorch,
no locust).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest.demo_catalogue import NO_CATALOGUE, catalogue_lines
from loadtest.demo_folder import demo_folder, has_catalogue
from loadtest.demo_requests import read_demo_requests
from loadtest.demo_scene import NO_RULES, SCENES, scene_lines
from loadtest.demo_truth import DemoTruth
from loadtest.requests.payloads import PayloadOptions, from_bundle, list_problem, make_payloads
from loadtest.rig.client import KeepAliveClient, post_message
from loadtest.rig.server import UNHURRIED, Server, ServerError, running_server
from loadtest.rig.statistics import BUDGET_MS, Latency
from models.contract.manifest import DEMO_BUNDLE, Manifest

TOP_N: Final = 10
QUICK_REQUESTS: Final = 300
QUICK_CANDIDATES: Final = 100
_LEGEND: Final = """\
What a list is expected to bring. model: the model's own estimate, the `value` of its answer. true: the same figure as
it is in the simulator that made the requests. gain: of the truth, over the order as it came (the sort by ctr)."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DemoSetting:
    """One way to ask: a title, and α, β, γ and λ."""

    title: str
    alpha: float
    beta: float
    gamma: float
    trade_off: float

    @property
    def body(self) -> dict[str, Any]:
        """Return the fields of a request that say so."""
        return {
            "objectives": {"click": self.alpha, "conversion": self.beta, "gmv": self.gamma},
            "diversity": {"lambda": self.trade_off, "window": 4},
        }

    def __str__(self) -> str:
        return f"{self.title}: α={self.alpha:g} β={self.beta:g} γ={self.gamma:g} λ={self.trade_off:g}"


SETTINGS: Final = (
    DemoSetting("the paper's weights", 5, 1, 1, 1.0),
    DemoSetting("clicks only", 1, 0, 0, 1.0),
    DemoSetting("revenue first", 1, 1, 5, 1.0),
    DemoSetting("the paper's weights, diverse", 5, 1, 1, 0.4),
)


class Service:
    """A connection to the service, JSON in and out."""

    def __init__(self, client: KeepAliveClient) -> None:
        self._client = client

    def rerank(self, request: Json) -> dict[str, Any]:
        """Return the answer of the model. Raises `ServerError` for every other answer."""
        status, body = self._client.send(post_message(json.dumps(request).encode()))
        if status != 200:
            raise ServerError(f"the service answered {status}: {body.decode('utf-8', 'replace')}")
        answer = dict(json.loads(body))
        if answer.get("degraded") is not None:
            raise ServerError(f"the model did not answer: {answer['degraded']}")
        return answer

    def quick(self, bundle: Path) -> Latency:
        """Time `QUICK_REQUESTS` one after the other. Raises `ServerError` for an invalid list."""
        options = PayloadOptions(sizes={QUICK_CANDIDATES: 1.0}, top_n=TOP_N)
        payloads = make_payloads(from_bundle(bundle, seed=0), options)
        return self.time([payload.body for payload in payloads], lambda i, body: list_problem(payloads[i], body))

    def time(self, bodies: Sequence[bytes], problem: Callable[[int, bytes], str | None] = lambda *_: None) -> Latency:
        """Time `QUICK_REQUESTS` of these in turn. Raises `ServerError` for an answer with a `problem`."""
        messages = [post_message(body) for body in bodies]
        times = []
        for k in range(QUICK_REQUESTS):
            i = k % len(messages)
            start = time.perf_counter()
            status, body = self._client.send(messages[i])
            times.append((time.perf_counter() - start) * 1000)
            if status != 200 or problem(i, body):
                raise ServerError(f"the service answered {status}: {body[:300].decode('utf-8', 'replace')}")
        return Latency.of(times)


def comparison(request: Json, answer: Json) -> Iterator[str]:
    """Show the input order beside the output order, and the queue of each item."""
    yield f"{'':>5}  {'came in as':<26}  {'goes out as':<26}  {'was':>4}  {'moved':>5}  queue"
    for place, item in enumerate(answer["items"]):
        queue = (item.get("explanation") or {}).get("queue", f"({item['source']})")
        moved = item["index"] - place
        yield (
            f"{place + 1:>5}  {_describe(request['candidates'][place]):<26}  "
            f"{_describe(request['candidates'][item['index']]):<26}  {item['index'] + 1:>4}  "
            f"{f'{moved:+d}' if moved else '·':>5}  {queue}"
        )


def _describe(candidate: Json) -> str:
    features = candidate["features"]
    kind = str(features.get("style", features.get("category", "")))
    return f"{candidate['id']:<7} {kind:<6} {candidate.get('price') or 0:>9.2f}"


@dataclass(frozen=True, slots=True)
class Worth:
    """Hold the true values of an order's lists, and the model's estimates of its own."""

    true: Sequence[Json]
    estimated: Sequence[Json] | None = None


def value_table(worth: Mapping[str, Worth]) -> Iterator[str]:
    """Show the mean values of a list, estimated and true.

    Gains are of the truth, over that of the first row. One request's figures are noisy; it is the means that the model
    is calibrated for.
    """
    first = next(iter(worth.values()))
    before = _means(first.true)
    titles = ("clicks", "purchases", "revenue")
    yield f"  {f'per list, mean of {len(first.true)}':<30}" + "".join(f"  {title:<26}" for title in titles).rstrip()
    yield f"  {'':<30}" + "".join(f"  {'model':>8} {'true':>8} {'gain':>7} " for _ in titles).rstrip()
    for title, order in worth.items():
        true, estimated = _means(order.true), None if order.estimated is None else _means(order.estimated)
        cells = (_cell(true, estimated, None if order is first else before, key) for key in _DIGITS)
        yield f"  {title:<30}{''.join(cells)}".rstrip()


_DIGITS: Final = {"click": 3, "conversion": 4, "gmv": 2}


def _means(rows: Sequence[Json]) -> dict[str, float]:
    return {key: sum(row[key] for row in rows) / len(rows) for key in _DIGITS}


def _cell(true: Json, estimated: Json | None, before: Json | None, key: str) -> str:
    digits = _DIGITS[key]
    model = "-" if estimated is None else f"{estimated[key]:.{digits}f}"
    gain = "" if before is None else f"{true[key] / before[key] - 1:+.1%}"
    return f"  {model:>8} {true[key]:>8.{digits}f} {gain:>7} "


def show(service: Service, server: Server, bundle: Path, manifest: Manifest) -> None:
    """Print lists before and after, their values, and the latency of quick requests."""
    print(f"Serving {manifest.name} {manifest.version} ({manifest.family}) on {server.url}\n")
    requests = [{**request, "model": manifest.name} for request in read_demo_requests()]
    first = requests[0]
    print(f"Request {first['request_id']}: {len(first['candidates'])} candidates, user {first['user']}")
    truth = DemoTruth()
    worth = {"as it came": Worth([truth.value(request, range(TOP_N)) for request in requests])}
    for setting in SETTINGS:
        answers = [service.rerank({**r, **setting.body, "top_n": TOP_N, "explain": True}) for r in requests]
        orders = [[item["index"] for item in answer["items"]] for answer in answers]
        true = [truth.value(request, order) for request, order in zip(requests, orders, strict=True)]
        worth[setting.title] = Worth(true, [answer["value"] for answer in answers])
        print(f"\n  {setting}")
        print("\n".join(comparison(first, answers[0])))
    print(f"\n{_LEGEND}\n\n" + "\n".join(value_table(worth)))
    print("\n".join(scene_lines(first, service.rerank)) if manifest.ruled else NO_RULES)
    known = has_catalogue(bundle, manifest)
    print("\n".join(catalogue_lines(requests, service.rerank, service.time)) if known else NO_CATALOGUE)
    print()
    latency = service.quick(bundle)
    verdict = "within" if latency.within(BUDGET_MS) else "OVER"
    print(f"{QUICK_REQUESTS} requests of {QUICK_CANDIDATES} candidates, one after the other:")
    print(f"  p50 {latency.p50:.2f} ms, p99 {latency.p99:.2f} ms: {verdict} the budget of {BUDGET_MS:g} ms\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve, show, stop; the exit status is 2 when the service did not work."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.demo", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=DEMO_BUNDLE, help="bundle folder (the embedded one)")
    options = parser.parse_args(argv)
    try:
        manifest = Manifest.read(options.bundle)
        # The model is what is shown here, on whatever machine; the figures at the end are held to the real budget.
        with (
            demo_folder(options.bundle, manifest, SCENES if manifest.ruled else None) as folder,
            running_server(folder, options=UNHURRIED) as server,
            KeepAliveClient(server.port) as client,
        ):
            show(Service(client), server, options.bundle, manifest)
    except (ValueError, OSError, ServerError) as error:
        parser.exit(2, f"loadtest.demo: {error}\n")
    command = Path(sys.executable).with_name("listwright")
    print(f"Stopped. To keep it running: {command} serve --bundles {options.bundle.parents[1]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
