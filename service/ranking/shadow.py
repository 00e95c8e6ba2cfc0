"""Compare a sample of the lists with those of a second model.

It works after the answer has been sent, for one request at a time, and only while there is no other work: under load it
is the first to stop. No client ever sees it, and its failures are only counted. Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Hashable, Sequence
from time import monotonic, perf_counter
from typing import Final

import msgspec
import numpy as np

from models.contract.arrays import Ints
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.catalogues.live import Catalogues
from service.catalogues.source import LiveSource
from service.contract.candidates import candidate_table
from service.contract.problems import Problem
from service.contract.schemas import RerankRequest, RerankResponse
from service.inference.dispatcher import Dispatcher
from service.ranking.dealt import deal_request, encode_request, graph_inputs
from service.ranking.lists import bypass_list, model_list
from service.ranking.live_reading import read_ahead, read_encoded
from service.ranking.request_items import join_items
from service.telemetry.records import NO_MODEL, SHADOW_DEPTHS, ShadowOutcome, ShadowRecord, SpanFacts
from service.telemetry.spans import Tracing
from service.timing.admission import Admission
from service.timing.deadline import NEVER
from service.timing.limiter import LogLimiter, left_out

_log = logging.getLogger(__name__)
_RETRY_SECONDS: Final = 60.0
"""A model that was too slow for the budget is given a try so often; it would never be found to be fast again."""


class _Busy(Exception):
    """There is other work."""


class Shadow:
    """Compare `share` of the model-made lists with those of model `name`.

    It is taken in its version `version`, or its current one, with the catalogue of its own spec. `observe` is told of
    every request that was sampled; `draw` gives numbers in 0…1, 1 excluded. `tracing` is told of runs for requests
    whose trace is exported.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str | None,
        share: float,
        registry: Registry,
        dispatcher: Dispatcher,
        admission: Admission,
        budget_seconds: float,
        observe: Callable[[ShadowRecord], None],
        draw: Callable[[], float] = random.random,
        catalogues: Catalogues | None = None,
        live: LiveSource | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._name, self._version = name, version
        self._share = share
        self._registry = registry
        self._dispatcher = dispatcher
        self._admission = admission
        self._budget = budget_seconds
        self._observe = observe
        self._draw = draw
        self._catalogues = Catalogues() if catalogues is None else catalogues
        self._live = live
        self._tracing = tracing
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._missed = False
        self._ran_at = -_RETRY_SECONDS
        self._limiter = LogLimiter()

    def offer(self, request: RerankRequest, response: RerankResponse, spans: SpanFacts | None = None) -> None:
        """Sample this list, perhaps, and compare it later."""
        if self._draw() >= self._share or self._stopped or response.degraded is not None:
            return
        model = self._registry.find(self._name, self._version)
        if model is None:
            self._miss()
            return
        self._missed = False
        # Items that the formula placed say nothing about the model.
        served = [item.index for item in response.items if item.source == "model"]
        if not served or (model.name, model.version) == (response.model, response.version):
            self._count(model, "skipped")
        elif self._task is not None or not self._is_quiet() or not self._fits(model, response):
            self._count(model, "dropped")
        else:
            self._task = asyncio.get_running_loop().create_task(self._compare(model, request, served, spans))

    def stop(self) -> None:
        """Give up what is in progress, and compare no more."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def _compare(
        self, model: Model, request: RerankRequest, served: Sequence[int], spans: SpanFacts | None
    ) -> None:
        began = perf_counter()
        record = ShadowRecord(model.name, model.version, "dropped")
        try:
            async with asyncio.timeout(self._budget):
                listed = await self._list(model, request, len(served))
            record = _compared(model, served, listed)
        except (_Busy, TimeoutError):
            pass
        except Problem:
            record = ShadowRecord(model.name, model.version, "unfit")
        except Exception:
            record = ShadowRecord(model.name, model.version, "failed")
            self._complain(model)
        finally:  # One that is cancelled counts as dropped.
            self._observe(record)
            if spans is not None and self._tracing is not None:
                self._tracing.observe_shadow(record, spans, began)
            self._task = None

    async def _list(self, model: Model, request: RerankRequest, length: int) -> list[int]:
        """Return the first `length` candidates of the model's list, by their places in the request.

        Raises `_Busy` when other work has come, `Problem` if the request is none for this model, and `EngineError`.
        """
        # It is asked for the whole list: rules may be about places behind the first.
        request = msgspec.structs.replace(request, top_n=request.top_n or length)
        items = join_items(candidate_table(request), model, self._catalogues, self._live)
        await read_ahead(request, items, model.manifest, NEVER)
        dealt = deal_request(request, model, items)
        if (sorted_list := bypass_list(dealt)) is not None:
            return [item.index for item in sorted_list.items[:length]]
        await self._let_others()
        await read_encoded(dealt, NEVER)
        row = encode_request(dealt)
        await self._let_others()
        self._ran_at = monotonic()
        answer = await self._dispatcher.run(model.engine, graph_inputs(model, row), background=True)
        return [item.index for item in model_list(dealt, row, answer).items[:length]]

    async def _let_others(self) -> None:
        await asyncio.sleep(0)
        if not self._is_quiet():
            raise _Busy

    def _is_quiet(self) -> bool:
        admission = self._admission
        return self._dispatcher.idle and not admission.in_flight and not admission.overloaded

    def _fits(self, model: Model, response: RerankResponse) -> bool:
        """Tell whether a request that comes during the shadow's run keeps its budget.

        It does if a request twice as slow as this one would fit into the rest of the budget.
        """
        if monotonic() >= self._ran_at + _RETRY_SECONDS:
            return True
        return self._dispatcher.run_seconds(model.engine) + 2e-3 * response.timings_ms.total <= self._budget

    def _miss(self) -> None:
        self._observe(ShadowRecord(self._name, self._version or NO_MODEL, "unknown"))
        if not self._missed:
            self._missed = True
            wanted = self._name if self._version is None else f"{self._name}@{self._version}"
            _log.warning("the shadow %s is not live (LISTWRIGHT_SHADOW), so nothing is compared", wanted)

    def _count(self, model: Model, outcome: ShadowOutcome) -> None:
        self._observe(ShadowRecord(model.name, model.version, outcome))

    def _complain(self, model: Model) -> None:
        """Log the exception that is being handled, but not every time."""
        suppressed = self._limiter.ready((model.name, model.version))
        if suppressed is not None:
            more = left_out(suppressed)
            _log.exception("shadow model %s %s failed on a request%s", model.name, model.version, more)


def _compared(model: Model, served: Sequence[int], listed: Sequence[int]) -> ShadowRecord:
    shares = {k: overlap(served, listed, k) for k in SHADOW_DEPTHS if k <= len(served)}
    return ShadowRecord(model.name, model.version, "scored", kendall_tau(served, listed), shares)


def kendall_tau(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return Kendall's τ-b, −1…1, over all items that either list holds.

    An item that a list lacks is tied behind its last one. τ-b is the form with ties (M. G. Kendall, The treatment of
    ties in ranking problems, Biometrika 33, 1945): agreeing less opposed pairs, over the geometric mean of the pairs
    that each list sets in an order. Placing absent items behind the list is how top-k lists are compared by Fagin,
    Kumar and Sivakumar (SIAM J. Discrete Math. 17, 2003).

    1: the same list, also where one item leaves no pair; −1: the reverse. Two lists of n items without one in common
    have −2n/(3n − 1), since how one list sees two items that only the other holds is not known. Raises `ValueError` for
    an empty list.
    """
    if not first or not second:
        raise ValueError("an empty list agrees or disagrees with nothing")
    if list(first) == list(second):
        return 1.0
    union = list(dict.fromkeys((*first, *second)))
    one, other = _pairs(first, union), _pairs(second, union)
    ordered = math.sqrt(int((one * one).sum()) * int((other * other).sum()))
    return max(-1.0, min(1.0, int((one * other).sum()) / ordered))


def overlap(first: Sequence[Hashable], second: Sequence[Hashable], k: int) -> float:
    """Return the share 0…1 of the first `k` items that two lists share; k ≥ 1."""
    return len(set(first[:k]) & set(second[:k])) / k


def _pairs(items: Sequence[Hashable], union: Sequence[Hashable]) -> Ints:
    """Compare the places of all pairs of `union` [u, u]: ±1, or 0."""
    place = {item: i for i, item in enumerate(items)}
    places = np.array([place.get(item, len(items)) for item in union], np.int64)
    signs: Ints = np.sign(places[None, :] - places[:, None])
    return signs
