"""Stream lists that were shown in random order, and keep a few figures of each.

Of a list remain what the model promised for it, what came of it, and where it agrees with the model's plan and with the
sort, so that a file of any length fits.

Axis letters: n lists, k places, O objectives.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from models.contract.arrays import Bools, Floats, Ints
from models.contract.partition import descending
from models.contract.spec import OBJECTIVES
from models.data.batches import ListArrays, encode_lists
from models.data.list_file import read_lists, read_metadata
from models.data.records import ListRecord
from models.data.slates import encode_slates
from models.evaluation.planning import ServedPlanner
from models.evaluation.randomised.calibration import within_products
from models.evaluation.randomised.estimators import PLAN, SORT, Shown, strata_of
from models.evaluation.scoring import neutral_order
from models.judging.value_report import predict
from models.nets.checkpoint import Checkpoint
from models.nets.value import ListValueModel
from models.planners.references.sort_gen import Preferences
from models.planners.search.prefix import list_outcomes

_BATCH: Final = 512
_FEWEST_ITEMS: Final = 2


@dataclass(frozen=True)
class Observed:
    """Hold the figures of n lists.

    `predicted` and `realised` [n, O] are the model's value of the shown list and what came of it, over the places that
    the model reaches; `alone` [n, O] is its value without what the list context adds; `within` [n, O, products] holds
    `calibration.within_products` of the three. `promised` [n, mixes, 2, O] is what it expects of the first k places of
    its plan, and of the sort. `agreement_of_sort` [n] says how far the click score foretells the order shown, in −1..1:
    0 on average if that was random; NaN where all scores are alike. `sizes`, `strata`, `outcomes` and, per mix of
    objectives, `agreement` are as in `estimators.Shown`.
    """

    predicted: Floats
    alone: Floats
    realised: Floats
    within: Floats
    promised: Floats
    agreement_of_sort: Floats
    sizes: Ints
    strata: Ints
    outcomes: Floats
    agreement: Sequence[dict[str, Bools]]

    def promised_gain(self, mix: int, preferences: Preferences) -> Floats:
        """Expect the plan's gain over the sort, mean over lists: objectives and their mix, [O + 1]."""
        outcomes = self.promised[:, mix].mean(axis=0)
        gain = outcomes[0] - outcomes[1]
        return np.append(gain, preferences.step_value(gain))

    def shown(self, mix: int, preferences: Preferences) -> Shown:
        """Return the outcomes for estimates of one mix: the objectives', then their mix."""
        mixed = preferences.step_value(self.outcomes)[..., None]
        return Shown(self.sizes, self.strata, np.concatenate([self.outcomes, mixed], axis=2), self.agreement[mix])


class LogObserver:
    """Turn records into numbers, for one model and several mixes of objectives."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        mixes: Sequence[Preferences],
        *,
        places: int,
        head_width: int,
        beam_width: int,
        seed: int,
    ) -> None:
        """Prepare to plan. Raises `ValueError` for more `places` than the model's horizon."""
        self._checkpoint = checkpoint
        self._mixes = mixes
        self._places = places
        self._seed = seed
        self._without_context = _without_context(checkpoint.model)
        self._served = ServedPlanner.of(checkpoint, places, head_width=head_width, beam_width=beam_width)

    def observe(self, records: Iterator[ListRecord]) -> Observed:
        """Observe `records`. Raises `ValueError` if there are none of at least two items."""
        parts = []
        while some := list(islice(records, _BATCH)):
            parts.append(self._observe(some))
        if not parts:
            raise ValueError("there are no lists of at least two items in random order")
        return Observed(
            **{name: np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS},
            agreement=[
                {order: np.concatenate([p.agreement[i][order] for p in parts]) for order in (PLAN, SORT)}
                for i in range(len(self._mixes))
            ],
        )

    def _observe(self, records: Sequence[ListRecord]) -> Observed:
        arrays = encode_lists(records, self._checkpoint.spec, self._checkpoint.config.list_length)
        starts = [neutral_order(r, seed=self._seed) for r in records]
        asked = [_asked(r, start) for r, start in zip(records, starts, strict=True)]
        orders = [{PLAN: self._served(asked, wish), SORT: self._served.sort(asked, wish)} for wish in self._mixes]
        predicted, alone = (_gains(model, arrays) for model in (self._checkpoint.model, self._without_context))
        realised = arrays.labels.astype(np.float64)
        return Observed(
            predicted=predicted.sum(axis=1),
            alone=alone.sum(axis=1),
            realised=realised.sum(axis=1),
            within=np.stack(
                [
                    within_products(predicted[..., o], alone[..., o], realised[..., o], arrays.filled)
                    for o in range(len(OBJECTIVES))
                ],
                axis=1,
            ),
            promised=self._promised(asked, orders),
            agreement_of_sort=np.array([_concordance(r) for r in records]),
            sizes=np.array([len(r.exposed) for r in records], np.int64),
            strata=np.array([_strata(r, start, self._places) for r, start in zip(records, starts, strict=True)]),
            outcomes=arrays.labels[:, : self._places].astype(np.float64),
            agreement=[{name: _agrees(lists, starts) for name, lists in by_name.items()} for by_name in orders],
        )

    def _promised(self, asked: Sequence[ListRecord], orders: Sequence[dict[str, Ints]]) -> Floats:
        """Value every plan and sort by the model, [n, mixes, 2, O]."""
        lists = np.stack([by_name[name] for by_name in orders for name in (PLAN, SORT)], axis=1)
        slates = encode_slates(asked, self._checkpoint.spec, self._places).tensors(torch.device("cpu"))
        outcomes = list_outcomes(self._checkpoint.model, slates, torch.from_numpy(lists))[:, :, -1]
        promised: Floats = outcomes.double().numpy().reshape(len(asked), len(orders), 2, -1)
        return promised


_ARRAYS: Final = tuple(f.name for f in dataclasses.fields(Observed) if f.name != "agreement")


def random_lists(data: Path) -> tuple[Iterator[ListRecord], dict[str, Any]]:
    """Stream a file's test lists shown in random order, and count those it names.

    Raises `ValueError` for a file that does not say which these are.
    """
    named = read_metadata(data).get("random_order")
    if named is None:
        raise ValueError(f"{data}: does not say which lists were shown in random order (metadata 'random_order')")
    known = frozenset(named)
    stream = tqdm(read_lists(data, "test"), desc="read", unit="list", disable=None)
    return (r for r in stream if r.request_id in known and len(r.exposed) >= _FEWEST_ITEMS), {"named": len(known)}


def _asked(record: ListRecord, start: Ints) -> ListRecord:
    """Make the request for the shown items, in an order that does not reveal theirs."""
    shown = [record.candidates[i] for i in record.exposed]
    return dataclasses.replace(
        record, candidates=tuple(shown[i] for i in start.tolist()), exposed=(), clicks=(), purchases=None, gmv=None
    )


def _agrees(lists: Ints, starts: Sequence[Ints]) -> Bools:
    """Tell where lists [n, k] of places in `starts` put the item that was shown there, bool [n, k]."""
    places = np.arange(lists.shape[1])
    shown_at = [np.where(chosen < 0, -1, start[chosen]) for chosen, start in zip(lists, starts, strict=True)]
    agrees: Bools = np.array(shown_at) == places
    return agrees


def _gains(model: ListValueModel, arrays: ListArrays) -> Floats:
    """Expect the increment of every item shown, [n, L, O]; 0 past a list's end."""
    cumulative = predict(model, arrays, torch.device("cpu")).astype(np.float64)
    gains: Floats = np.diff(cumulative, axis=1, prepend=0.0) * arrays.filled[..., None]
    return gains


def _without_context(model: ListValueModel) -> ListValueModel:
    """Reduce the model to its calibrated prior; heads without hazards have none and stay."""
    alone = copy.deepcopy(model)
    if model.config.head == "hazard":
        for head in alone.hazard_heads:
            head.share.zero_()
    return alone


def _strata(record: ListRecord, start: Ints, places: int) -> Ints:
    """Find the stratum of each first place's item, [k], −1 past the end; `start` breaks ties."""
    scores, size = _click_scores(record), len(record.exposed)
    ranks = np.empty(size, np.int64)
    ranks[start[descending(scores[start])]] = np.arange(size)
    strata = np.full(places, -1, np.int64)
    filled = strata_of(ranks, np.array(size))[:places]
    strata[: len(filled)] = filled
    return strata


def _concordance(record: ListRecord) -> float:
    """Measure the agreement of the click score with the order shown (Goodman and Kruskal's γ).

    Of the pairs of unequal score the share with the better one first, less the share with it last. NaN without any.
    """
    scores = _click_scores(record)
    signs = np.sign(scores[:, None] - scores)[np.triu_indices(len(scores), 1)]
    return float(signs.sum() / np.abs(signs).sum()) if signs.any() else float("nan")


def _click_scores(record: ListRecord) -> Floats:
    return np.array([record.candidates[i].scores.get("ctr", 0.0) for i in record.exposed])
