"""Let locust's users send payloads at a constant rate and check every list.

``locust -f loadtest/locustfile.py --host http://127.0.0.1:8000 --bundle models/embedded/demo/1`` opens its page;
``python -m loadtest.run`` starts a service and runs this headless. A user sends its next request only when the last
one is answered (a closed load), so a service that stalls is asked less; compare requests/s with ``users × rate``. A
service with keys is shown the first of ``LISTWRIGHT_API_KEYS``.
"""

# mypy: disallow-untyped-calls=False, disallow-untyped-decorators=False
# (locust's event hooks carry no types)

from __future__ import annotations

import itertools
import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import msgspec
from locust import FastHttpUser, constant_throughput, events, task
from locust.env import Environment
from locust.runners import MasterRunner

from loadtest.requests.payloads import Payload, add_payload_options, list_problem, payloads_from
from loadtest.run import Record
from models.contract.serving import RERANK_PATH
from models.reranking.client import environment_key, key_headers

_HEADERS = {"Content-Type": "application/json", **key_headers(environment_key())}


class RerankUser(FastHttpUser):
    """A backend that asks for one list at a time."""

    payloads: ClassVar[Iterator[Payload]]

    @task
    def rerank(self) -> None:
        """POST one payload; a wrong status or an invalid list is a failure."""
        payload = next(self.payloads)
        with self.client.post(
            RERANK_PATH, data=cast(str, payload.body), headers=_HEADERS, catch_response=True
        ) as response:
            if not response.status_code:
                response.failure(f"no answer: {response.error}")
            elif response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif problem := list_problem(payload, response.content):
                response.failure(f"the list {problem}")


class Recorder:
    """Keep every response time and failure, and write them as JSON (`loadtest.run.Record`) when locust quits.

    Locust's own percentiles are rounded, to 1 ms below 100 ms and to two digits above, and the last rows of its CSV
    files lag by seconds.
    """

    def __init__(self, environment: Environment, options: Namespace) -> None:
        self._path = Path(options.record)
        self._users, self._rate, self._spawn_rate = options.num_users or 1, options.rate, options.spawn_rate or 1.0
        self._record = Record(response_times_ms=[], failures={}, seconds=0.0)
        self._began = math.inf
        environment.events.request.add_listener(self._keep)
        environment.events.quit.add_listener(self._write)

    def _keep(self, *, response_time: float, exception: Exception | None, start_time: float, **_: Any) -> None:
        record = self._record
        record.response_times_ms.append(response_time)
        self._began = min(self._began, start_time)
        record.seconds = max(record.seconds, start_time + response_time / 1000 - self._began)
        if exception is not None:
            record.failures[str(exception)] = record.failures.get(str(exception), 0) + 1

    def _write(self, **_: Any) -> None:
        # Users start one after another, so on average they had half of that time less.
        starting = (self._users - 1) / self._spawn_rate
        self._record.asked = self._users * self._rate * max(0.0, self._record.seconds - starting / 2)
        self._path.write_bytes(msgspec.json.encode(self._record))


@events.init_command_line_parser.add_listener
def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=25.0, help="requests a second of each user (default: 25)")
    parser.add_argument("--record", default="", help="JSON file for every response time, for exact percentiles")
    add_payload_options(parser)


@events.init.add_listener
def _prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is None or isinstance(environment.runner, MasterRunner):
        return
    if options.headless and not options.host:
        sys.exit("--host: must be the service's URL, such as http://127.0.0.1:8000, with --headless")
    RerankUser.payloads = itertools.cycle(payloads_from(options))
    RerankUser.wait_time = constant_throughput(options.rate)
    if options.record:
        Recorder(environment, options)
