"""Lay SORT-Gen's mask-driven fast generation (§3.2) of a list as one ONNX graph.

At each of L steps the first h unchosen items of every queue are appended to the list so far, valued in one mini-batch,
and the MMR argmax is taken. Masks hold what has been selected; a key/value cache means that a step computes Q·h tokens
and not Q·h·t. h = 1 is the paper's algorithm (`graphs/greedy.py`); a beam of W lists looks further (`graphs/beams.py`).
Last, a model of hazards values the plain sort's list too, and the better of the two is given (`graphs/sort_list.py`).
`models.planners.references` does the same in plain code.

Ties go to the queue of higher priority, then to the better rank. A candidate without an embedding is charged the mean
penalty of the step's other proposals. Queues come filled (`models/contract/slots.py`).

Axis letters: B batch, Q queues, L list horizon.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.contract.manifest import Limits
from models.contract.spec import OBJECTIVES
from models.nets.value import ListValueModel
from models.planners.graphs.beams import BeamNodes
from models.planners.graphs.graph import Graph
from models.planners.graphs.greedy import GreedyNodes
from models.planners.graphs.inputs import declare_features
from models.planners.graphs.mmr import as_column
from models.planners.graphs.proposals import WORTH, Proposer, Static
from models.planners.graphs.queue_rules import QueueRules
from models.planners.graphs.rule_inputs import declare_rules
from models.planners.graphs.sort_list import Listed, keep_better, sort_list


def queue_graph(model: ListValueModel, limits: Limits, units: Mapping[str, float], *, groups: int = 0) -> Graph:
    """Build the generation graph of a value model.

    Inputs are those of `declare_features` and ``objective_weights`` float32 [B, 3] (α, β, γ), ``trade_off`` float32
    [B] (λ) and ``window`` int64 [B]. `units` are s_o: a step is worth Σ_o w_o·Δ_o/s_o / Σ_o w_o. A model of hazards
    also takes ``sort_slots`` int64 [B, L], the slots of a plain sort's list, −1 past its end.

    Outputs: ``order`` int64 [B, L] (slot, −1 when nothing was left), ``value`` [B, L, 3] (Δclick, Δconversion, ΔGMV,
    raw), ``penalty`` [B, L] (as subtracted), ``score`` [B, L] and ``runner_up`` int64 [B, L] (slot or −1). With
    ``sort_slots`` they are those of the list of the higher total score, and ``kept_sort`` bool [B] says whether that is
    the sort's (which has no runners-up).

    With `groups` the graph keeps rules, which come as five more inputs (`models.contract.rules.tensors`): a list ends
    where all that is left is barred, the sort's list comes cut likewise, and the longer of the two is given.
    """
    if limits.queue_length != limits.list_length:
        raise ValueError(f"queue_length: must be list_length ({limits.list_length}), not {limits.queue_length}")
    if limits.list_length > model.config.list_length:
        raise ValueError(f"list_length {limits.list_length} is past the model's horizon {model.config.list_length}")
    return _Generator(model, limits, units, groups).graph


class _Generator:
    """Lay the nodes. `graph` is complete after construction."""

    def __init__(self, model: ListValueModel, limits: Limits, units: Mapping[str, float], groups: int) -> None:
        self.graph = g = Graph("sort-gen")
        self.limits = limits
        self.units = units
        self.groups = groups
        # What a step does is chosen here; everything else is the same for both planners.
        ruled = groups > 0
        greedy = limits.beam_width == 1
        planner = GreedyNodes(g, limits, ruled=ruled) if greedy else BeamNodes(g, limits, ruled=ruled)
        self.proposer = Proposer(g, model, limits, ruled=ruled)
        self.sorted = model.config.head == "hazard"
        # Inputs. A count head reads no priors and has no sort to be held to.
        declare_features(g, model.spec, limits.slots, priors=self.sorted)
        g.input("objective_weights", "float32", ["B", len(OBJECTIVES)])
        g.input("trade_off", "float32", ["B"])
        g.input("window", "int64", ["B"])
        if self.sorted:
            g.input("sort_slots", "int64", ["B", limits.list_length])
        if ruled:
            declare_rules(g, limits.list_length, limits.slots, groups)
        # Work that does not change between steps comes first, so that L unrolled steps do not repeat it.
        with g.scope("prepare"):
            static = self._prepare()
        plan, runner_up = planner.plan(self.proposer, static)
        if not self.sorted:
            with g.scope("finish"):
                self._give(plan, runner_up)
            return
        # The sort's list is valued beside the plan, and the better of the two is the answer.
        with g.scope("sort"):
            listed = sort_list(g, self.proposer, static.rows, static.gains, static.window)
        with g.scope("keep"):
            better, kept = keep_better(g, plan, listed, ruled=ruled)
            self._give(better, g.op("Where", kept, g.ints(-1), runner_up))
            g.output("kept_sort", g.op("Reshape", kept, g.ints(-1)), "bool", ["B"])

    def _prepare(self) -> Static:
        g, length = self.graph, self.limits.list_length
        # The cheapest way to a batch axis: zero times something that has one.
        zero = g.op("Mul", g.op("ReduceSum", "objective_weights", g.ints(1), keepdims=1), g.constant(0.0))  # [B, 1]
        zeros = g.op("Unsqueeze", zero, g.ints(2))  # [B, 1, 1]
        window = g.op("Unsqueeze", as_column(g, "window"), g.ints(2))
        if self.proposer.context is not None or self.groups:
            # Steps are counted in float32, in which a vast window would drown them.
            window = g.op("Min", window, g.constant(float(length)))
        # What is chosen at step t is looked back on until step t + window.
        ends = g.op("Add", window, g.constant(np.arange(length)[None, None]))
        rules = QueueRules.lay(g, self.proposer.table, window, self.groups) if self.groups else None
        return Static(
            rows=self.proposer.table.rows(g, zeros, () if rules is None else (rules.boosts, rules.seen)),
            gains=self.proposer.gains(zero, self.units),
            window_ends=g.split(ends, 2, *[1] * length),
            thresholds=self.proposer.thresholds(window),
            window=window,
            zeros=zeros,
            rules=rules,
        )

    def _give(self, listed: Listed, runner_up: str) -> None:
        """Give a list as the graph's outputs."""
        g, length = self.graph, self.limits.list_length
        value, penalty = g.split(listed.columns, 2, WORTH, 1)
        g.output("order", listed.order, "int64", ["B", length])
        g.output("value", value, "float32", ["B", length, len(OBJECTIVES)])
        g.output("penalty", g.op("Reshape", penalty, g.ints(-1, length)), "float32", ["B", length])
        g.output("score", listed.score, "float32", ["B", length])
        g.output("runner_up", runner_up, "int64", ["B", length])
