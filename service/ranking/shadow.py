"""Compare a sample of the lists with those of a second model.

It works after the answer has been sent, for one request at a time, and only while there is no other work: under load it
is the first to stop. No client ever sees it, and its failures are only counted. Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

import msgspec

from service.bundles.folder import Catalogue
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.contract.problems import Problem
from service.contract.schemas import RerankRequest, RerankResponse
from service.inference.dispatcher import Dispatcher
from service.ranking.agreement import kendall_tau, overlap
from service.ranking.rerank import bypass_list, deal_request, encode_request, graph_inputs, model_list
from service.settings import Settings, SettingsError
from service.telemetry.records import NO_MODEL, SHADOW_DEPTHS, ShadowOutcome, ShadowRecord
from service.timing.admission import Admission

_log = logging.getLogger(__name__)
_LOG_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 60.0
"""A model that was too slow for the budget is given a try so often; it would never be found to be fast again."""


class _Busy(Exception):
    """There is other work."""


class Shadow:
    """Compare `share` of the model-made lists with those of model `name`.

    It is taken in its version `version`, or its current one. `observe` is told of every request that was sampled;
    `draw` gives numbers in 0…1, 1 excluded.
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
    ) -> None:
        self._name, self._version = name, version
        self._share = share
        self._registry = registry
        self._dispatcher = dispatcher
        self._admission = admission
        self._budget = budget_seconds
        self._observe = observe
        self._draw = draw
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._missed = False
        self._quiet_until = self._ran_at = -_LOG_SECONDS

    def offer(self, request: RerankRequest, response: RerankResponse) -> None:
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
            self._task = asyncio.get_running_loop().create_task(self._compare(model, request, served))

    def stop(self) -> None:
        """Give up what is in progress, and compare no more."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def _compare(self, model: Model, request: RerankRequest, served: Sequence[int]) -> None:
        try:
            async with asyncio.timeout(self._budget):
                listed = await self._list(model, request, len(served))
            self._observe(_compared(model, served, listed))
        except (_Busy, TimeoutError):
            self._count(model, "dropped")
        except Problem:
            self._count(model, "unfit")
        except asyncio.CancelledError:
            self._count(model, "dropped")
            raise
        except Exception:
            self._count(model, "failed")
            self._complain(model)
        finally:
            self._task = None

    async def _list(self, model: Model, request: RerankRequest, length: int) -> list[int]:
        """Return the model's list of `length` candidates, by their places in the request.

        Raises `_Busy` when other work has come, `Problem` if the request is none for this model, and `EngineError`.
        """
        dealt = deal_request(msgspec.structs.replace(request, top_n=length), model)
        if (sorted_list := bypass_list(dealt)) is not None:
            return [item.index for item in sorted_list.items]
        await self._let_others()
        row = encode_request(dealt)
        await self._let_others()
        self._ran_at = monotonic()
        answer = await self._dispatcher.run(model.engine, graph_inputs(model, row), background=True)
        return [item.index for item in model_list(dealt, row, answer).items]

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
        now = monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_SECONDS
            _log.exception("shadow model %s %s failed on a request", model.name, model.version)


def _compared(model: Model, served: Sequence[int], listed: Sequence[int]) -> ShadowRecord:
    shares = {k: overlap(served, listed, k) for k in SHADOW_DEPTHS if k <= len(served)}
    return ShadowRecord(model.name, model.version, "scored", kendall_tau(served, listed), shares)


def check_shadow(settings: Settings) -> None:
    """Raise `SettingsError` if the shadow will not be live at the start.

    A folder with nothing in it says nothing: its bundles may come later.
    """
    if settings.shadow_bundle is None:
        return
    name, version = settings.shadow_bundle
    found = Catalogue(settings.bundles).newest(settings.keep_versions)
    live = [v for n, v in found if n == name]
    if not found or (live and version in (None, *live)):
        return
    setting = "LISTWRIGHT_SHADOW (--shadow)"
    if not live:
        raise SettingsError(f"{setting}: there is no bundle {name!r} in {settings.bundles}")
    raise SettingsError(
        f"{setting}: version {version!r} of {name!r} is not among the newest {settings.keep_versions} "
        f"(LISTWRIGHT_KEEP_VERSIONS), which are live from the start: {', '.join(live)}"
    )
