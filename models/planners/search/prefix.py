"""Value many lists at once through a tree of their common prefixes, each read once.

A causal model's hidden states of a prefix do not depend on what follows, so lists that begin alike share the keys and
values of every layer. Those of an item are stored once, and a prefix is the path of its items through that storage.
Alternatives for the next item attend to their prefix and to themselves, not to one another.

Axis letters: R requests, N candidates, K lists of a request or alternatives of a prefix, T positions, P prefixes,
t items of a prefix, D width, H heads, O counted objectives, S state of a head's chain, Z context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor

from models.data.batches import Batch
from models.nets.blocks import Block
from models.nets.context import context_features
from models.nets.heads import HeadInput
from models.nets.value import ListValueModel, priced
from models.planners.search.prefix_store import Alternatives, Prefixes, concatenate, grown

_TOKENS: Final = 2048
"""Alternatives per pass through the layers: few enough for their activations to stay in a core's cache."""
_LISTS: Final = 8192
"""Lists whose caches are held at once."""


class PrefixTree:
    """Grow lists under a value model from a batch's projected candidates.

    Values are those of the model in evaluation mode. Raises `ValueError` for lists past its horizon.
    """

    def __init__(self, model: ListValueModel, batch: Batch) -> None:
        """Take a `batch` of `SlateArrays`' feature tensors of R requests."""
        self._model = model
        with torch.no_grad():
            self._tokens = model.input.tokens(batch)
            self._positions = model.input.positions()
            self._items = model.items(batch) if model.uses_context else None
        self._priors = batch["priors"] if model.config.head == "hazard" else None
        self._price = batch["price"]
        heads, dim = model.config.heads, model.config.dim
        self._heads = torch.eye(heads).to(self._tokens).repeat_interleave(dim // heads, dim=0)  # [D, H]

    @torch.no_grad()
    def roots(self, requests: Tensor) -> Prefixes:
        """Make the empty list of each of `requests` int64 [P]."""
        nothing = self._tokens.new_zeros(len(requests), 3)
        states = torch.stack([head.start(nothing[:, 0]) for head in self._model.counting_heads], dim=1)
        nobody = requests.new_empty(len(requests), 0)
        return Prefixes(requests, nobody, (), nobody, states, nothing)

    @torch.no_grad()
    def extend(self, prefixes: Prefixes, items: Tensor, *, last: bool = False) -> Alternatives:
        """Append each of `items` int64 [P, K], candidates of the prefix's request, alone to its prefix.

        Nothing can grow from the `last` ones, whose keys and values are not kept.
        """
        if prefixes.length >= self._model.config.list_length:
            raise ValueError(f"lists are longer than the value model's horizon {self._model.config.list_length}")
        p, k = items.shape
        own = self._tokens.new_empty(len(self._model.blocks), p, 0 if last else k, 2 * self._tokens.shape[-1])
        parts = [
            self._extend(prefixes.take(rows), items[rows], None if last else own[:, rows])
            for rows in _slices(p, max(1, _TOKENS // max(k, 1)))
        ]
        outcomes, states = (torch.cat(values) for values in zip(*parts, strict=True))
        return Alternatives(items, outcomes, states, own)

    @torch.no_grad()
    def grow(self, prefixes: Prefixes, alternatives: Alternatives, parents: Tensor, which: Tensor) -> Prefixes:
        """Grow Q prefixes by one item: each a parent's row and its alternative, int64 [Q]."""
        return grown(
            prefixes.take(parents),
            alternatives.items[parents, which],
            alternatives.own[:, parents, which],
            alternatives.states[parents, which],
            alternatives.outcomes[parents, which],
        )

    def grow_all(self, prefixes: Prefixes, alternatives: Alternatives) -> Prefixes:
        """Grow by every alternative of every prefix, in order: P · K prefixes, storage not copied."""
        p, k = alternatives.outcomes.shape[:2]
        parents = torch.arange(p, device=prefixes.requests.device).repeat_interleave(k)
        return grown(
            prefixes.take(parents),
            alternatives.items.flatten(),
            alternatives.own.flatten(1, 2),
            alternatives.states.flatten(0, 1),
            alternatives.outcomes.flatten(0, 1),
        )

    @torch.no_grad()
    def outcomes(self, requests: Tensor, lists: Tensor) -> Tensor:
        """Compute cumulative outcomes [M, T, 3] of `lists` int64 [M, T] of `requests` [M].

        Lists may end early with −1. Positions past an end repeat the last outcome, 0 for a list without items. Lists of
        a request should stand together: M is cut into parts, and only lists of the same part share prefixes.
        """
        parts = [self._outcomes(requests[s], lists[s]) for s in _slices(len(lists), _LISTS)]
        return torch.cat(parts) if parts else self._tokens.new_zeros(*lists.shape, 3)

    def _extend(self, prefixes: Prefixes, items: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute outcomes [P, K, 3] and states [P, K, O, S]; fills `own` [layers, P, K, 2 · D]."""
        model, requests = self._model, prefixes.requests[:, None]
        context = self._context(prefixes, items)
        x = model.tokens(self._tokens[requests, items], context) + self._positions[prefixes.length]
        for layer, block in enumerate(model.blocks):
            kept = None if own is None else own[layer]
            x = _attend(cast(Block, block), x, prefixes.cache(layer), self._heads, kept)
        logits = self._logits(model.norm(x), requests, items, context, prefixes.length)
        before = prefixes.states[:, None].expand(-1, items.shape[1], -1, -1)
        gains, states = model.advance(logits, list(before.unbind(2)), prefixes.length)
        outcomes = prefixes.outcomes[:, None] + priced(gains, self._price[requests, items])
        return outcomes, torch.stack(states, dim=2)

    def _context(self, prefixes: Prefixes, items: Tensor) -> Tensor | None:
        """Compute context features [P, K, Z] of `items` behind their prefixes."""
        if self._items is None:
            return None
        requests = prefixes.requests[:, None]
        age = torch.arange(prefixes.length, 0, -1, device=items.device)[None]
        return context_features(self._items.take(requests, items), self._items.take(requests, prefixes.items), age)

    def _logits(self, x: Tensor, requests: Tensor, items: Tensor, context: Tensor | None, place: int) -> Tensor:
        """Compute the heads' logits [P, K, O, logits] at one place, from hidden rows [P, K, D]."""
        heads = self._model.counting_heads
        places = torch.tensor([place], device=x.device)
        if self._priors is None:
            priors = (x.new_zeros(x.shape[:2]),) * len(heads)
        else:
            priors = self._priors[requests, items].unbind(-1)
        rows = [head(HeadInput(x, p, context, places)) for head, p in zip(heads, priors, strict=True)]
        return torch.stack(rows, dim=2)

    def _outcomes(self, requests: Tensor, lists: Tensor) -> Tensor:
        roots, node = _distinct(requests)
        prefixes = self.roots(roots)
        width = self._tokens.shape[1]
        result = prefixes.outcomes.new_zeros(*lists.shape, 3)
        for t in range(lists.shape[1]):
            going = lists[:, t] >= 0
            if t:  # a list that has ended keeps its last outcome
                result[:, t] = result[:, t - 1]
            # Lists with the same parent and the same next item share one child.
            pairs, child = _distinct(node[going] * width + lists[going, t])
            if not len(pairs):
                continue
            families = list(_families(pairs // width, pairs % width))
            parents = [prefixes.take(f.parents) for f in families]
            last = t + 1 == lists.shape[1]
            alternatives = [self.extend(some, f.items, last=last) for some, f in zip(parents, families, strict=True)]
            # Families were sorted by size, so `place` leads from a child's number back to its row.
            place = torch.argsort(torch.cat([f.rows.flatten() for f in families]))[child]
            result[going, t] = torch.cat([a.outcomes.flatten(0, 1) for a in alternatives])[place]
            if not last:
                prefixes = concatenate([self.grow_all(*pair) for pair in zip(parents, alternatives, strict=True)])
                node = torch.zeros_like(node).masked_scatter(going, place)
        return result


@torch.no_grad()
def list_outcomes(model: ListValueModel, batch: Batch, lists: Tensor) -> Tensor:
    """Compute cumulative expected (clicks, conversions, GMV) after every position, [R, K, T, 3].

    `lists` int64 [R, K, T] are candidates of R requests whose feature tensors `batch` holds; −1 ends a list early, and
    its last outcome is repeated from there on. The numbers are those of the plain forward pass.
    """
    r, k, t = lists.shape
    requests = torch.arange(r, device=lists.device).repeat_interleave(k)
    return PrefixTree(model, batch).outcomes(requests, lists.reshape(r * k, t)).view(r, k, t, 3)


@torch.no_grad()
def all_outcomes(model: ListValueModel, batch: Batch, length: int) -> Tensor:
    """Compute final outcomes of every list of one request, in the order of `exhaustive.all_lists`.

    The result is [n! / (n − length)!, 3]. `batch` holds one request; padding among its candidates is left out, and
    lists count the candidates that are left. Raises `ValueError` for more requests, or `length` outside 1..n.
    """
    if len(batch["valid"]) != 1:
        raise ValueError(f"exhaustive values are computed for one request at a time, not {len(batch['valid'])}")
    candidates = batch["valid"][0].nonzero()[:, 0]
    if not 1 <= length <= len(candidates):
        raise ValueError(f"lists of {length} out of {len(candidates)} candidates: there are none")
    tree = PrefixTree(model, batch)
    root = tree.roots(candidates.new_zeros(1))
    return torch.cat(list(_descend(tree, root, candidates[None], length)))


def _descend(tree: PrefixTree, prefixes: Prefixes, left: Tensor, length: int) -> Iterator[Tensor]:
    """Yield outcomes of all completions of `prefixes` by items `left` int64 [P, K], depth first."""
    k = left.shape[1]
    others = _all_but_one(k, left.device)
    for part in _slices(len(prefixes), max(1, _LISTS // k)):
        some, items = prefixes.take(part), left[part]
        last = some.length + 1 == length
        alternatives = tree.extend(some, items, last=last)
        if last:
            yield alternatives.outcomes.flatten(0, 1)
            continue
        grown = tree.grow_all(some, alternatives)
        yield from _descend(tree, grown, items[:, others].flatten(0, 1), length)


def _attend(block: Block, x: Tensor, cache: list[Tensor], heads: Tensor, own: Tensor | None) -> Tensor:
    """Run a block on alternatives x [P, K, D] behind a `cache` of [P, 2 · D] per earlier item.

    It fills `own` [P, K, 2 · D]. `heads` [D, H] is 1 where a column is a head's: sums within heads and copies to all of
    a head's columns are products with it. Everything goes item by item, so that what is read again is still in a core's
    cache; small matrices are quicker so than in batched products.
    """
    d = x.shape[2]
    query, key, value = block.qkv(block.attention_norm(x)).split(d, dim=-1)
    if own is not None:
        own[:, :, :d], own[:, :, d:] = key, value
    attended = value
    if cache:
        query = query * (d // block.heads) ** -0.5
        scores = [(query * before[:, None, :d]) @ heads for before in cache]
        shares = torch.softmax(torch.stack([*scores, (query * key) @ heads]), dim=0)  # [t + 1, P, K, H]
        attended = (shares[-1] @ heads.T) * value
        for share, before in zip(shares, cache, strict=False):
            attended.addcmul_(share @ heads.T, before[:, None, d:])
    x = x + block.out(attended)
    output: Tensor = x + block.down(torch.relu(block.up(block.feed_forward_norm(x))))
    return output


@dataclass(frozen=True)
class _Family:
    """Hold `parents` [P] with K children each: their `items` [P, K] and `rows` [P, K] among all."""

    parents: Tensor
    rows: Tensor
    items: Tensor


def _families(owners: Tensor, items: Tensor) -> Iterator[_Family]:
    """Group parents with equally many `items` [Q], without padding; `owners` [Q] is sorted."""
    parents, counts = torch.unique_consecutive(owners, return_counts=True)
    first = counts.cumsum(0) - counts
    for count in _distinct(counts)[0].tolist():
        chosen = (counts == count).nonzero()[:, 0]
        rows = first[chosen, None] + torch.arange(count, device=items.device)
        yield _Family(parents[chosen], rows, items[rows])


def _distinct(values: Tensor) -> tuple[Tensor, Tensor]:
    """List the distinct values, ascending, and the place of each of `values` among them."""
    distinct, inverse = torch.unique(values, return_inverse=True)
    return distinct, inverse


def _all_but_one(k: int, device: torch.device) -> Tensor:
    """Make int64 [k, k − 1]: row i holds 0 … k − 1 without i."""
    everything = torch.arange(k, device=device).expand(k, k)
    return everything[~torch.eye(k, dtype=torch.bool, device=device)].view(k, k - 1)


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, count, step))
