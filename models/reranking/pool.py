"""Ask a service over several connections, and yield outcomes in the order of the requests."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Final

from models.reranking.client import Address, BatchClient, Outcome
from models.reranking.requests import batches
from models.reranking.warnings import WarningTally

_AHEAD: Final = 2
"""Batches per connection that are held in memory: one on its way, and the next."""

Named = tuple[str, Outcome]


def counted(outcomes: Iterable[Named], tally: WarningTally) -> Iterator[Named]:
    """Yield the outcomes, and count those that are lists."""
    for name, outcome in outcomes:
        if not isinstance(outcome, str):
            tally.add(outcome.warnings, None if outcome.degraded is None else outcome.degraded["reason"])
        yield name, outcome


def rerank_all(
    requests: Iterable[tuple[str, bytes]], address: Address, connections: int
) -> Generator[Named, None, None]:
    """Yield each request's id and outcome. Raises `RerankError`.

    Only so many batches are read ahead.
    """
    clients: SimpleQueue[BatchClient] = SimpleQueue()

    def ask(batch: Sequence[tuple[str, bytes]]) -> list[Named]:
        client = clients.get()
        try:
            outcomes = client.rerank([body for _, body in batch])
        finally:
            clients.put(client)
        return [(name, outcome) for (name, _), outcome in zip(batch, outcomes, strict=True)]

    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            clients.put(stack.enter_context(BatchClient(address)))
        pool = ThreadPoolExecutor(connections, "rerank")
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting: deque[Future[list[Named]]] = deque()
        for batch in batches(requests):
            waiting.append(pool.submit(ask, batch))
            if len(waiting) >= _AHEAD * connections:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
