"""Values of many lists at once through a tree of their common prefixes, each read once.

A causal model's hidden states of a prefix do not depend on what follows, so lists that begin alike share the keys and
values of every layer. Alternatives for the next item attend to their prefix's cache and to themselves, not to one
another, so the cache is never copied for them. It works for any `ListValueModel` and knows nothing about searching.

Axis letters: R requests, N candidates, K lists of a request or alternatives of a prefix, T positions, P prefixes,
t items of a prefix, D width, H heads, E width of a head, O counted objectives, L horizon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor

from models.blocks import Block
from models.heads import CountHead
from models.inputs import Batch
from models.value import COUNTED, ListValueModel, increments

_TOKENS: Final = 2048
"""Alternatives per pass through the layers: few enough for their activations to stay in a core's cache."""
_LISTS: Final = 8192
"""Lists whose caches are held at once."""


@dataclass(frozen=True)
class Prefixes:
    """P lists of t items each and what it takes to go on from them.

    `requests` int64 [P]; `cache` [layers, 2, P, H, t, E], keys and values; `reached` [P, O, L], P(≥ i) of each count,
    None before the first item; `outcomes` [P, 3], cumulative expected clicks, conversions and GMV.
    """

    requests: Tensor
    cache: Tensor
    reached: Tensor | None
    outcomes: Tensor

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def length(self) -> int:
        """t."""
        return self.cache.shape[4]

    def take(self, rows: Tensor | slice) -> Prefixes:
        """The prefixes at `rows`."""
        reached = None if self.reached is None else self.reached[rows]
        return Prefixes(self.requests[rows], self.cache[:, :, rows], reached, self.outcomes[rows])


@dataclass(frozen=True)
class Alternatives:
    """K next items of each of P prefixes: `outcomes` [P, K, 3], `reached` [P, K, O, L].

    `own` [layers, 2, P, H, K, E] are their keys and values.
    """

    outcomes: Tensor
    reached: Tensor
    own: Tensor


class PrefixTree:
    """A value model and a batch of requests whose candidates are projected, ready to grow lists.

    Values are those of the model in evaluation mode. Raises `ValueError` for lists past its horizon.
    """

    def __init__(self, model: ListValueModel, batch: Batch) -> None:
        """`batch` holds `SlateArrays`' feature tensors of R requests."""
        self._model = model
        with torch.no_grad():
            self._tokens = model.input.tokens(batch)
            self._positions = model.input.positions()
        self._price = batch["price"]

    @torch.no_grad()
    def roots(self, requests: Tensor) -> Prefixes:
        """The empty list of each of `requests` int64 [P]."""
        config, p = self._model.config, len(requests)
        shape = (config.layers, 2, p, config.heads, 0, config.dim // config.heads)
        return Prefixes(requests, self._tokens.new_empty(shape), None, self._tokens.new_zeros(p, len(COUNTED) + 1))

    @torch.no_grad()
    def extend(self, prefixes: Prefixes, items: Tensor) -> Alternatives:
        """Append each of `items` int64 [P, K], candidates of the prefix's request, alone to its prefix."""
        if prefixes.length >= self._model.config.list_length:
            raise ValueError(f"lists are longer than the value model's horizon {self._model.config.list_length}")
        p, k = items.shape
        step = max(1, _TOKENS // max(k, 1))
        parts = [self._extend(prefixes.take(s), items[s]) for s in _slices(p, step)]
        if len(parts) == 1:
            return parts[0]
        return Alternatives(
            torch.cat([a.outcomes for a in parts]),
            torch.cat([a.reached for a in parts]),
            torch.cat([a.own for a in parts], dim=2),
        )

    @torch.no_grad()
    def grow(self, prefixes: Prefixes, alternatives: Alternatives, parents: Tensor, which: Tensor) -> Prefixes:
        """The prefixes one item longer: for each of Q, the parent's row int64 [Q] and which of its alternatives."""
        own = alternatives.own[:, :, parents, :, which]  # indexed dimensions come first: [Q, layers, 2, H, E]
        own = own.permute(1, 2, 0, 3, 4)[:, :, :, :, None]
        cache = torch.cat([prefixes.cache.index_select(2, parents), own], dim=4)
        return Prefixes(
            prefixes.requests[parents],
            cache,
            alternatives.reached[parents, which],
            alternatives.outcomes[parents, which],
        )

    def grow_all(self, prefixes: Prefixes, alternatives: Alternatives) -> Prefixes:
        """`grow` by every alternative of every prefix, in order: P · K prefixes."""
        p, k = alternatives.outcomes.shape[:2]
        rows = torch.arange(p * k, device=prefixes.requests.device)
        return self.grow(prefixes, alternatives, rows // k, rows % k)

    @torch.no_grad()
    def outcomes(self, requests: Tensor, lists: Tensor) -> Tensor:
        """Cumulative outcomes [M, T, 3] of `lists` int64 [M, T] of `requests` [M]; lists may end early with −1.

        Positions past an end repeat the last outcome, 0 for a list without items. Lists of a request should stand
        together: M is cut into parts, and only lists of the same part share prefixes.
        """
        parts = [self._outcomes(requests[s], lists[s]) for s in _slices(len(lists), _LISTS)]
        return torch.cat(parts) if parts else self._tokens.new_zeros(*lists.shape, 3)

    def _extend(self, prefixes: Prefixes, items: Tensor) -> Alternatives:
        x = self._tokens[prefixes.requests[:, None], items] + self._positions[prefixes.length]
        own = []
        for layer, block in enumerate(self._model.blocks):
            x, pair = _attend(cast(Block, block), x, prefixes.cache[layer])
            own.append(pair)
        x = self._model.norm(x)
        reached = self._reached(x, prefixes)
        price = self._price[prefixes.requests[:, None], items]
        before = prefixes.outcomes[:, None]
        gains = increments(before[..., : len(COUNTED)], reached.sum(-1), price)
        return Alternatives(before + gains, reached, torch.stack(own))

    def _reached(self, x: Tensor, prefixes: Prefixes) -> Tensor:
        """P(≥ i) [P, K, O, L]."""
        known = prefixes.reached
        columns = []
        for o, head in enumerate(self._model.heads.values()):
            before = None if known is None else known[:, None, o].expand(-1, x.shape[1], -1)
            columns.append(cast(CountHead, head).step(x, prefixes.length, before))
        return torch.stack(columns, dim=2)

    def _outcomes(self, requests: Tensor, lists: Tensor) -> Tensor:
        roots, node = _distinct(requests)
        prefixes = self.roots(roots)
        width = self._tokens.shape[1]
        result = prefixes.outcomes.new_zeros(*lists.shape, 3)
        for t in range(lists.shape[1]):
            going = lists[:, t] >= 0
            if t:
                result[:, t] = result[:, t - 1]
            pairs, child = _distinct(node[going] * width + lists[going, t])
            if not len(pairs):
                continue
            families = list(_families(pairs // width, pairs % width))
            parents = [prefixes.take(f.parents) for f in families]
            alternatives = [self.extend(some, f.items) for some, f in zip(parents, families, strict=True)]
            place = torch.argsort(torch.cat([f.rows.flatten() for f in families]))[child]
            result[going, t] = torch.cat([a.outcomes.flatten(0, 1) for a in alternatives])[place]
            if t + 1 < lists.shape[1]:
                prefixes = _concatenate([self.grow_all(*pair) for pair in zip(parents, alternatives, strict=True)])
                node = torch.zeros_like(node).masked_scatter(going, place)
        return result


@torch.no_grad()
def list_outcomes(model: ListValueModel, batch: Batch, lists: Tensor) -> Tensor:
    """Cumulative expected (clicks, conversions, GMV) after every position, [R, K, T, 3].

    `lists` int64 [R, K, T] are candidates of R requests whose feature tensors `batch` holds; −1 ends a list early, and
    its last outcome is repeated from there on. The numbers are those of the plain forward pass.
    """
    r, k, t = lists.shape
    requests = torch.arange(r, device=lists.device).repeat_interleave(k)
    return PrefixTree(model, batch).outcomes(requests, lists.reshape(r * k, t)).view(r, k, t, 3)


@torch.no_grad()
def all_outcomes(model: ListValueModel, batch: Batch, length: int) -> Tensor:
    """Final outcomes [n! / (n − length)!, 3] of every list of one request, in the order of `exhaustive.all_lists`.

    `batch` holds one request; padding among its candidates is left out, and lists count the candidates that are left.
    Raises `ValueError` for another number of requests, or if `length` is not within 1 and n.
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
    """Outcomes of all completions of `prefixes` by what is `left` int64 [P, K], depth first, so in order."""
    k = left.shape[1]
    others = _all_but_one(k, left.device)
    for part in _slices(len(prefixes), max(1, _LISTS // k)):
        some, items = prefixes.take(part), left[part]
        alternatives = tree.extend(some, items)
        if some.length + 1 == length:
            yield alternatives.outcomes.flatten(0, 1)
            continue
        grown = tree.grow_all(some, alternatives)
        yield from _descend(tree, grown, items[:, others].flatten(0, 1), length)


def _attend(block: Block, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
    """A block for alternatives x [P, K, D] behind a `cache` [2, P, H, t, E]; also their own pair [2, P, H, K, E]."""
    p, k, d = x.shape
    qkv = block.qkv(block.attention_norm(x)).view(p, k, 3, block.heads, d // block.heads).permute(2, 0, 3, 1, 4)
    query, own = qkv[0], qkv[1:]
    if cache.shape[3]:
        query = query * query.shape[-1] ** -0.5
        scores = torch.cat([query @ cache[0].transpose(-1, -2), (query * own[0]).sum(-1, keepdim=True)], dim=-1)
        shares = torch.softmax(scores, dim=-1)
        attended = shares[..., :-1] @ cache[1] + shares[..., -1:] * own[1]
    else:
        attended = own[1]
    x = x + block.out(attended.transpose(1, 2).reshape(p, k, d))
    return x + block.down(torch.relu(block.up(block.feed_forward_norm(x)))), own


def _concatenate(parts: list[Prefixes]) -> Prefixes:
    if len(parts) == 1:
        return parts[0]
    return Prefixes(
        torch.cat([p.requests for p in parts]),
        torch.cat([p.cache for p in parts], dim=2),
        torch.cat([p.reached for p in parts if p.reached is not None]),
        torch.cat([p.outcomes for p in parts]),
    )


@dataclass(frozen=True)
class _Family:
    """`parents` [P] with K children each: the children's `items` [P, K] and `rows` [P, K] among all children."""

    parents: Tensor
    rows: Tensor
    items: Tensor


def _families(owners: Tensor, items: Tensor) -> Iterator[_Family]:
    """Parents with equally many children go together, so that nothing is padded.

    `owners` int64 [Q], sorted, says whose child each of `items` [Q] is.
    """
    parents, counts = torch.unique_consecutive(owners, return_counts=True)
    first = counts.cumsum(0) - counts
    for count in _distinct(counts)[0].tolist():
        chosen = (counts == count).nonzero()[:, 0]
        rows = first[chosen, None] + torch.arange(count, device=items.device)
        yield _Family(parents[chosen], rows, items[rows])


def _distinct(values: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct values, ascending, and where each of `values` stands among them."""
    distinct, inverse = torch.unique(values, return_inverse=True)
    return distinct, inverse


def _all_but_one(k: int, device: torch.device) -> Tensor:
    """int64 [k, k − 1]: row i holds 0 … k − 1 without i."""
    everything = torch.arange(k, device=device).expand(k, k)
    return everything[~torch.eye(k, dtype=torch.bool, device=device)].view(k, k - 1)


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, count, step))
