"""Answer `POST /v1/rerank/batch`: many requests in one body, each with an outcome of its own.

Batches give way to single requests. The event loop begins with one request of all batches at a time and has a turn
before the next; only so many of a batch are in progress at once; each is admitted only while no queue stands; and the
engine runs them when nothing else waits. A request's budget begins when its turn comes; what its caller asks for
(`timeout_ms`, headers) counts from the arrival of the batch, a scene's `timeout_ms` from the turn. Batches that wait
for turns hold memory, so only so many are taken in. Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.access.key import NO_KEY
from service.access.keys import ApiKeys
from service.contract.batch import BatchResult, split_batch
from service.contract.cost import most_fields
from service.contract.decoding import decode_request
from service.contract.problems import BODY_TOO_LARGE, INTERNAL, OVERLOADED, Problem, unavailable
from service.ranking.endpoint import EndpointOptions
from service.ranking.exchange import CLIENT_CLOSED, Exchange, echo, send_problem, server_timing
from service.ranking.faults import FaultLog
from service.ranking.refusing import no_place
from service.ranking.rerank import Reranker
from service.scenes.scene import NO_SCENE
from service.telemetry.records import (
    BatchObserver,
    RequestObserver,
    RequestOutcome,
    RequestRecord,
    Stopwatch,
)
from service.telemetry.spans import Tracing
from service.timing.admission import Admission
from service.timing.deadline import Deadline, header_timeout
from service.transport.asgi import ANSWERED_KEY, Call, Trace, check_media_type, new_id, read_body, send_bytes
from service.transport.compression import content_coding, decompress

_encode: Final = msgspec.json.Encoder().encode
_JSON: Final = b"application/json"
_WORTH_SENDING_AGAIN: Final = (429, 503)


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Options of batches, and of each request; `at_once` of a batch are in progress.

    At most `most` batches are in progress, with bodies of at most `most_bytes` in all.
    """

    request: EndpointOptions
    max_body_bytes: int
    at_once: int
    most: int
    most_bytes: int


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One request's result as JSON, how it ended, and the problem in it, if any."""

    body: bytes
    outcome: RequestOutcome
    problem: Problem | None = None


_Outcomes = list[_Outcome]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch that has arrived; `patience` is how many seconds its caller waits from then.

    `key` is the name of its API key; each of its requests counts against the key's limit.
    """

    call: Call
    bodies: Sequence[bytes]
    patience: float
    key: str


class BatchEndpoint:
    """Read batches, and answer and record their requests."""

    def __init__(
        self,
        *,
        options: BatchOptions,
        keys: ApiKeys,
        admission: Admission,
        reranker: Reranker,
        batch_observers: Sequence[BatchObserver],
        observers: Sequence[RequestObserver],
        tracing: Tracing | None = None,
    ) -> None:
        self._options = options
        self._most_fields = most_fields(options.request.max_body_bytes)
        self._keys = keys
        self._admission = admission
        self._reranker = reranker
        self._batch_observers, self._observers = tuple(batch_observers), tuple(observers)
        if tracing is not None:
            self._batch_observers = (*self._batch_observers, tracing.observe_batch)
            self._observers = (*self._observers, tracing.observe_part)
        self._tracing = tracing
        self._faults = FaultLog()
        self._turn = asyncio.Lock()
        self._held: list[int] = []  # Sizes of the bodies of the batches in progress.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a batch; log a fault of the service's own once, as a 500."""
        exchange = Exchange.begin(scope, self._tracing)
        call, clock = exchange.call, exchange.clock
        try:
            found = await self._answer(exchange, receive)
        except ClientDisconnect:
            self._end(exchange.left(scope))
        except Problem as problem:
            await self._refuse(exchange, send, scope.get(ANSWERED_KEY, problem))
        except Exception as error:
            self._faults.add(f"batch {call.request_id}", error, exchange.log_ids)
            await self._refuse(exchange, send, Problem(INTERNAL, "the log has the request id"))
        else:
            headers = [*echo(call), (b"server-timing", server_timing(clock))]
            body = b'{"results":[%b]}' % b",".join(outcome.body for outcome in found)
            await send_bytes(send, 200, body, _JSON, headers)
            self._end(exchange.record("ok", 200, None), found)

    async def _refuse(self, exchange: Exchange, send: Send, problem: Problem) -> None:
        """Answer a batch with a problem."""
        await send_problem(send, exchange.call, problem)
        self._end(exchange.refused(problem))

    async def _answer(self, exchange: Exchange, receive: Receive) -> _Outcomes:
        """Return an outcome for each request.

        Raises `Problem`, which is a 503 if the batch or none of its requests had a place, or a 429 if its key may not
        send one.
        """
        call = exchange.call
        exchange.key = key = self._keys.check(call.header(b"authorization"), call.peer) or NO_KEY
        if (limit := self._keys.look(key)) is not None:
            raise limit.problem()
        check_media_type(call)
        coding = content_coding(call)
        options = self._options
        seconds = options.request.read_timeout_seconds
        body = await read_body(call, receive, limit=options.max_body_bytes, seconds=seconds)
        with self._in_progress(len(body) if coding is None else options.max_body_bytes):
            if coding is not None:
                body = await decompress(body, coding, options.max_body_bytes)
            batch = _Batch(call, split_batch(body), header_timeout(call.headers)[0], exchange.key)
            del body
            found = await _while_present(self._answer_all(batch), call)
        first = found[0].problem
        if first is not None and all(o.problem and o.problem.kind.status in _WORTH_SENDING_AGAIN for o in found):
            raise first
        return found

    @contextlib.contextmanager
    def _in_progress(self, size: int) -> Iterator[None]:
        """Count a batch whose body is whole. Raises `Problem` (503) if there is no room."""
        options, held = self._options, self._held
        if len(held) >= options.most or (held and sum(held) + size > options.most_bytes):
            detail = "as many batches as allowed are in progress"
            raise unavailable(OVERLOADED, detail, options.request.retry_after_seconds)
        held.append(size)
        try:
            yield
        finally:
            held.remove(size)

    async def _answer_all(self, batch: _Batch) -> _Outcomes:
        """Begin with one request after the other, as their turns come."""
        places = asyncio.Semaphore(self._options.at_once)
        tasks = []
        async with asyncio.TaskGroup() as group:
            for i, body in enumerate(batch.bodies):
                await places.acquire()
                async with self._turn:
                    await asyncio.sleep(0)  # Others have theirs.
                    task = group.create_task(self._one(batch, i, body))
                    task.add_done_callback(lambda _: places.release())
                    await asyncio.sleep(0)  # It runs until the engine has it.
                tasks.append(task)
        return [task.result() for task in tasks]

    async def _one(self, batch: _Batch, index: int, body: bytes) -> _Outcome:
        """Answer one request and record it; no fault of its own is raised."""
        call = replace(batch.call, request_id=f"{batch.call.request_id}-{index}", arrival=perf_counter(), lag=0.0)
        exchange = self._begin(call, batch)
        try:
            return await self._list(exchange, batch, body)
        except Problem as problem:
            return self._refused(exchange, problem)
        except asyncio.CancelledError:
            self._emit(exchange.record("cancelled", CLIENT_CLOSED, None))
            raise
        except Exception as error:
            self._faults.add(f"request {call.request_id}", error, exchange.log_ids)
            return self._refused(exchange, Problem(INTERNAL, "the log has the request id"))

    def _begin(self, call: Call, batch: _Batch) -> Exchange:
        """Start the clock of one request; its span is a child of the batch's."""
        if self._tracing is not None and call.trace is not None:
            call.trace = Trace(call.trace.trace_id, new_id(), call.trace.flags, call.trace.span_id)
        exchange = Exchange(call, Stopwatch(call.arrival, 0.0)) if self._tracing is None else Exchange.traced(call)
        exchange.key, exchange.batch_id = batch.key, batch.call.request_id
        return exchange

    async def _list(self, exchange: Exchange, batch: _Batch, body: bytes) -> _Outcome:
        """Return a request's list. Raises `Problem`."""
        options, call, clock = self._options.request, exchange.call, exchange.clock
        if len(body) > options.max_body_bytes:
            raise Problem(BODY_TOO_LARGE, f"the request is larger than {options.max_body_bytes} bytes")
        refused = self._admission.admit_giving_way()
        if refused is not None:
            raise no_place(refused, options.retry_after_seconds)
        try:
            if (limit := self._keys.take(batch.key)) is not None:
                raise limit.problem()
            exchange.request = request = decode_request(body, most_fields=self._most_fields)
            call.request_id = request.request_id or call.request_id
            request, inherited = self._reranker.merge(request)
            exchange.scene = inherited.scene or NO_SCENE
            clock.lap("decode")
            due = min(call.arrival + options.budget_seconds, batch.call.arrival + batch.patience)
            if request.timeout_ms is not None:
                # A scene's counts from the request's turn, as the service's own budget does.
                asked = exchange.request.timeout_ms is not None
                due = min(due, (batch.call.arrival if asked else call.arrival) + request.timeout_ms / 1e3)
            exchange.model = model = self._reranker.select(request)
            exchange.reranked = reranked = await self._reranker.rerank(
                request,
                model,
                clock,
                request_id=call.request_id,
                deadline=Deadline(due, options.enforce_deadlines),
                background=True,
                inherited=inherited,
            )
        finally:
            self._admission.leave_giving_way()
        response = reranked.response
        outcome: RequestOutcome = "ok" if response.degraded is None else "degraded"
        self._emit(exchange.record(outcome, 200, None))
        return _Outcome(_encode(BatchResult(status=200, response=response)), outcome)

    def _refused(self, exchange: Exchange, problem: Problem) -> _Outcome:
        record = exchange.refused(problem)
        self._emit(record)
        document = problem.document(exchange.call.request_id)
        return _Outcome(_encode(BatchResult(status=record.status, problem=document)), record.outcome, problem)

    def _end(self, record: RequestRecord, found: Sequence[_Outcome] = ()) -> None:
        """Tell observers of a batch that has ended."""
        requests = Counter(one.outcome for one in found)
        for observe in self._batch_observers:
            observe(record, requests)

    def _emit(self, record: RequestRecord) -> None:
        for observe in self._observers:
            observe(record)


async def _while_present(work: Coroutine[Any, Any, _Outcomes], call: Call) -> _Outcomes:
    """Return the result of `work`; raise `ClientDisconnect` and end it once the client leaves."""
    task = asyncio.get_running_loop().create_task(work)
    left = False

    def leave() -> None:
        nonlocal left
        left = True
        task.cancel()

    if call.presence is not None:
        call.presence.on_leave = leave
    try:
        return await task
    except asyncio.CancelledError:
        if left:
            raise ClientDisconnect from None
        raise
    finally:
        if call.presence is not None:
            call.presence.on_leave = None
